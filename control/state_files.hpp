// SPDX-License-Identifier: BSD-3-Clause
// What control keeps in the runtime directory: operators' wishes, the accepted configuration, the
// flow hash key, and the lock that keeps a second control out. Every file is replaced whole.
#pragma once

#include <string>
#include <string_view>

#include "config/expected.hpp"
#include "control/compile/inputs.hpp"
#include "dataplane/channel/sealed_memory.hpp"

namespace weir::control {

inline constexpr const char* kAdminFile = "admin.json";
inline constexpr const char* kDrainedFile = "drained"; // there: this node hands its VIPs over
inline constexpr const char* kAcceptedFile = "accepted.toml";
inline constexpr const char* kHashKeyFile = "hash.key";
inline constexpr const char* kLockFile = "control.lock";
inline constexpr const char* kControlSocket = "control.sock";

Expected<void> write_whole(const std::string& path, std::string_view content, unsigned mode);
Expected<std::string> read_file(const std::string& path);

std::string admin_to_json(const Admin& admin);
Expected<Admin> admin_from_json(const std::string& text);

// 16 random bytes, made when the file is not there.
Expected<weir_hash_key> load_hash_key(const std::string& path);

// Makes the directory when it is not there and holds it for this process as long as the descriptor
// is open.
Expected<channel::Descriptor> claim_runtime_directory(const std::string& directory);

} // namespace weir::control
