// SPDX-License-Identifier: BSD-3-Clause
#include "control/state_files.hpp"

#include <nlohmann/json.hpp>

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

namespace weir::control {
namespace {

Error cannot(const std::string& what, const std::string& path) {
    return Error{"cannot " + what + " " + path + ": " + std::strerror(errno)};
}

constexpr const char* kStates[] = {"ready", "drain", "disable"};

bool write_all(int descriptor, std::string_view content) {
    while (!content.empty()) {
        const ssize_t written = ::write(descriptor, content.data(), content.size());
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return false;
        content.remove_prefix(static_cast<std::size_t>(written));
    }
    return true;
}

} // namespace

Expected<void> write_whole(const std::string& path, std::string_view content, unsigned mode) {
    const std::string fresh = path + ".new";
    const channel::Descriptor file(
        ::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode));
    if (!file)
        return cannot("write", fresh);
    if (!write_all(file.get(), content) || ::fsync(file.get()) != 0)
        return cannot("write", fresh);
    if (::rename(fresh.c_str(), path.c_str()) != 0)
        return cannot("replace", path);
    return {};
}

Expected<std::string> read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file)
        return cannot("read", path);
    std::ostringstream content;
    content << file.rdbuf();
    return content.str();
}

std::string admin_to_json(const Admin& admin) {
    nlohmann::json backends = nlohmann::json::array();
    for (const auto& [key, wish] : admin) {
        nlohmann::json entry{{"pool", key.first},
                             {"backend", key.second},
                             {"state", kStates[static_cast<int>(wish.state)]}};
        if (wish.weight)
            entry["weight"] = *wish.weight;
        backends.push_back(std::move(entry));
    }
    return nlohmann::json{{"backends", std::move(backends)}}.dump(2) + "\n";
}

Expected<Admin> admin_from_json(const std::string& text) {
    const auto root = nlohmann::json::parse(text, nullptr, false);
    const Error damaged{"the operators' states are damaged; they start anew"};
    if (!root.is_object() || !root.contains("backends") || !root["backends"].is_array())
        return damaged;
    Admin admin;
    for (const auto& entry : root["backends"]) {
        if (!entry.is_object() || !entry.contains("pool") || !entry["pool"].is_string() ||
            !entry.contains("backend") || !entry["backend"].is_string() ||
            !entry.contains("state") || !entry["state"].is_string())
            return damaged;
        BackendAdmin wish;
        bool known = false;
        for (int state = 0; state < 3; state++) {
            if (entry["state"] == kStates[state]) {
                wish.state = static_cast<AdminState>(state);
                known = true;
            }
        }
        if (!known)
            return damaged;
        if (entry.contains("weight")) {
            if (!entry["weight"].is_number_unsigned() ||
                entry["weight"].get<std::uint64_t>() > 65535)
                return damaged;
            wish.weight = entry["weight"].get<std::uint16_t>();
        }
        admin[{entry["pool"].get<std::string>(), entry["backend"].get<std::string>()}] = wish;
    }
    return admin;
}

Expected<weir_hash_key> load_hash_key(const std::string& path) {
    weir_hash_key key{};
    if (!std::filesystem::exists(path)) {
        if (::getrandom(&key, sizeof(key), 0) != static_cast<ssize_t>(sizeof(key)))
            return cannot("get random bytes for", path);
        if (auto written =
                write_whole(path, {reinterpret_cast<const char*>(&key), sizeof(key)}, 0600);
            !written)
            return written.error();
        return key;
    }
    auto content = read_file(path);
    if (!content)
        return content.error();
    if (content->size() != sizeof(key))
        return Error{path + " has " + std::to_string(content->size()) +
                     " bytes; a flow hash key has 16 (remove it and a new one is made)"};
    std::memcpy(&key, content->data(), sizeof(key));
    return key;
}

Expected<channel::Descriptor> claim_runtime_directory(const std::string& directory) {
    std::error_code error;
    std::filesystem::create_directories(directory, error);
    if (error)
        return Error{"cannot make the runtime directory " + directory + ": " + error.message()};
    const std::string path = directory + "/" + kLockFile;
    channel::Descriptor lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!lock)
        return cannot("open", path);
    if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0)
        return Error{"another weir-control runs in " + directory +
                     "; give this one its own --runtime-dir"};
    const std::string pid = std::to_string(::getpid()) + "\n"; // for whoever wants to end us
    if (::ftruncate(lock.get(), 0) != 0 || !write_all(lock.get(), pid))
        return cannot("write", path);
    return lock;
}

} // namespace weir::control
