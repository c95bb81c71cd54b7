// SPDX-License-Identifier: BSD-3-Clause
// The packet's way through a worker. Each stage works on the whole burst, touches the packets that
// no earlier stage has decided, and calls no other stage; worker.cpp calls them in this order.
#pragma once

#include "dataplane/dpdk/worker.hpp"

namespace weir::dpdk {

// Takes packets in. False when there were none.
bool receive_from_port(Worker& worker, const WorkerPort& port, Burst& burst);
bool receive_from_peers(Worker& worker, Burst& burst);
bool receive_from_kernel(Worker& worker, Burst& burst);
bool receive_released(Worker& worker, Burst& burst); // fragments that waited

// The plain packets side by side, and their flow hashes.
void read(Worker& worker, Burst& burst);

// The short way (short_way.hpp), tried before the stages below. True: all packets have taken it;
// burst.first and burst.end say where the others stand.
bool forward_shortly(Worker& worker, Burst& burst);

void parse(Worker& worker, Burst& burst);
// Lends later fragments the ports of the first; takes those that came early out of the burst.
void follow_fragments(Worker& worker, Burst& burst);
// Which VIP, SNAT range or backend it is for; flow hashes of the others; index lines on their way.
void match(Worker& worker, Burst& burst);
// Packets of connections that another worker owns.
void hand_over(Worker& worker, Burst& burst);
// Finds the packet's connection; selects a backend for what has none, and remembers it.
void track(Worker& worker, Burst& burst);
void rewrite(Worker& worker, Burst& burst);
// Turns dropped packets whose sender should know into resets and ICMP errors.
void answer(Worker& worker, Burst& burst);
// While a capture is on: first what later stages may leave unset, at the end copies of what
// matches.
void clear_rows(Burst& burst);
void capture(Worker& worker, const Burst& burst);
// Sends, punts or frees every packet by its verdict, and tallies it.
void transmit(Worker& worker, Burst& burst);

} // namespace weir::dpdk
