# SPDX-License-Identifier: BSD-3-Clause
"""What each packet gets, a second time: slow, in plain Python, sharing nothing with dataplane/.

Written from docs and RFCs; the engines are held to it and it to the vectors. Modules:

    hashes     SipHash-1-3, Maglev tables, the Internet checksum
    rules      a state description: VIPs, pools, backends, next hops (the text both sides read)
    packet     a frame's meaning
    lifetime   connection states
    model      what becomes of a packet
"""
