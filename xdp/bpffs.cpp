// SPDX-License-Identifier: BSD-3-Clause
#include "xdp/bpffs.hpp"

#include <bpf/bpf.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

namespace weir::xdp {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kUsual = "/sys/fs/bpf";

bool is_below(const std::string& path, std::string_view directory) {
    return path.starts_with(directory) &&
           (path.size() == directory.size() || path[directory.size()] == '/');
}

} // namespace

bool is_bpffs(const std::string& directory) {
    struct statfs facts {};
    return ::statfs(directory.c_str(), &facts) == 0 &&
           static_cast<unsigned long>(facts.f_type) == BPF_FS_MAGIC;
}

Expected<bool> prepare_bpffs(const std::string& directory) {
    if (is_bpffs(directory))
        return false;
    const bool usual = is_below(directory, kUsual);
    const std::string place = usual ? std::string(kUsual) : directory;
    std::error_code problem;
    if (!usual)
        fs::create_directories(place, problem);
    bool mounted = false;
    if (!is_bpffs(place) && !(is_bpffs(fs::path(place).parent_path()))) {
        if (::mount("bpf", place.c_str(), "bpf", 0, "mode=0700") != 0)
            return Error{"there is no BPF filesystem at " + place + ", and none can be mounted: " +
                         std::strerror(errno) + "; run `mount -t bpf bpf " + place +
                         "` as root, or name another directory with --bpffs"};
        mounted = true;
    }
    if (auto made = make_directory(directory); !made)
        return made.error();
    return mounted;
}

Expected<void> make_directory(const std::string& path) {
    std::error_code problem;
    fs::create_directories(path, problem);
    if (problem)
        return Error{"cannot make " + path + ": " + problem.message() +
                     (fs::path(path).filename().string().find('.') != std::string::npos
                          ? "; names on a BPF filesystem cannot have dots"
                          : "")};
    return {};
}

void remove_directory(const std::string& path) {
    std::error_code ignored;
    for (const std::string& name : names_in(path))
        fs::remove(fs::path(path) / name, ignored);
    fs::remove(path, ignored);
}

std::vector<std::string> names_in(const std::string& path) {
    std::vector<std::string> names;
    std::error_code ignored;
    for (const fs::directory_entry& entry : fs::directory_iterator(path, ignored))
        names.push_back(entry.path().filename().string());
    std::ranges::sort(names);
    return names;
}

std::optional<uint32_t> map_id(const std::string& path) {
    const Descriptor map(bpf_obj_get(path.c_str()));
    bpf_map_info info{};
    uint32_t bytes = sizeof(info);
    if (!map || bpf_obj_get_info_by_fd(map.get(), &info, &bytes) != 0)
        return std::nullopt;
    return info.id;
}

std::string pin_name(std::string interface) {
    std::ranges::replace(interface, '.', '~');
    return interface;
}

std::string interface_of_pin(std::string name) {
    std::ranges::replace(name, '~', '.');
    return name;
}

} // namespace weir::xdp
