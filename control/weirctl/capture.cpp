// SPDX-License-Identifier: BSD-3-Clause
#include "control/weirctl/capture.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <system_error>

#include "config/diagnostic.hpp"
#include "control/weirctl/field.hpp"
#include "control/weirctl/pcapng_digest.hpp"
#include "control/weirctl/quantity.hpp"
#include "control/weirctl/request.hpp"

namespace weir::weirctl {
namespace {

constexpr std::size_t kMostSentenceBytes = 4000;

// The file is made when the first bytes come: a refusal leaves no trace. Packets are private: it is
// for its owner alone.
class Target {
public:
    explicit Target(std::string path) : path_(std::move(path)) {}
    Target(const Target&) = delete;
    Target& operator=(const Target&) = delete;
    ~Target() {
        if (fd_ >= 0 && !standard_output())
            ::close(fd_);
    }

    [[nodiscard]] bool standard_output() const { return path_ == "-"; }
    [[nodiscard]] const std::string& problem() const { return problem_; }

    bool write(std::string_view bytes) {
        if (fd_ < 0)
            fd_ = standard_output()
                      ? STDOUT_FILENO
                      : ::open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        while (fd_ >= 0 && !bytes.empty()) {
            const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
            if (written < 0 && errno == EINTR)
                continue;
            if (written < 0)
                break;
            bytes.remove_prefix(static_cast<std::size_t>(written));
        }
        if (!bytes.empty())
            problem_ = "cannot write " + (standard_output() ? "to standard output" : path_) + ": " +
                       std::generic_category().message(errno);
        return bytes.empty();
    }

private:
    std::string path_;
    int fd_ = -1;
    std::string problem_;
};

int fail(const Command& command, const Surroundings& surroundings, const std::string& sentence) {
    if (command.json && command.write != "-")
        surroundings.out << json{{"error", sentence}}.dump(-1, ' ', false,
                                                           json::error_handler_t::replace)
                         << "\n";
    surroundings.err << "weirctl: " << config::printable(sentence, kMostSentenceBytes) << "\n";
    return kFailed;
}

std::uint64_t count_said(const PcapngDigest& digest, const char* key) {
    return std::strtoull(digest.said(key).c_str(), nullptr, 10);
}

// Why packets that match may not be in the file; empty when all are.
std::string missed_text(std::uint64_t sampled_out, std::uint64_t overwritten) {
    std::string text;
    if (sampled_out != 0)
        text += "; " + grouped(sampled_out) + " more were not copied, to keep the workers fast";
    if (overwritten != 0)
        text += "; " + grouped(overwritten) + " more were overwritten before they could be read";
    return text;
}

int summarize(const Command& command, const Surroundings& surroundings,
              const PcapngDigest& digest) {
    const std::uint64_t sampled_out = count_said(digest, "sampled_out");
    const std::uint64_t overwritten = count_said(digest, "overwritten");
    std::ostream& out = command.write == "-" ? surroundings.err : surroundings.out;
    if (command.json)
        out << json{{"file", command.write},
                    {"packets", digest.packets()},
                    {"sampled_out", sampled_out},
                    {"overwritten", overwritten},
                    {"ended", digest.said("ended")}}
                   .dump(-1, ' ', false, json::error_handler_t::replace)
            << "\n";
    else
        out << counted(digest.packets(), "packet")
            << (command.write == "-" ? "" : " written to " + command.write)
            << missed_text(sampled_out, overwritten) << "\n";
    if (digest.said("ended") != "engine")
        return kDone;
    surroundings.err << "weirctl: weir-dataplane ended, and the capture with it\n";
    return kFailed;
}

} // namespace

int capture(const Command& command, const Surroundings& surroundings) {
    Target target(command.write);
    PcapngDigest digest;
    bool begun = false;
    const auto answer = download(command.runtime_directory, request_of(command, {}),
                                 surroundings.limits, [&](std::string_view piece) {
                                     digest.feed(piece);
                                     if (!target.write(piece))
                                         return false;
                                     if (!begun && !command.json)
                                         surroundings.err << "capturing; Ctrl-C ends it"
                                                          << std::endl;
                                     begun = true;
                                     return true;
                                 });
    if (!target.problem().empty())
        return fail(command, surroundings, target.problem());
    if (!answer)
        return fail(command, surroundings, answer.error().sentence);
    if (answer->status != 200) {
        const std::string sentence = text_of(json::parse(answer->body, nullptr, false), "error");
        return fail(command, surroundings,
                    !sentence.empty() ? sentence
                                      : "weir-control answered with HTTP status " +
                                            std::to_string(answer->status));
    }
    if (!digest.has_statistics())
        return fail(command, surroundings,
                    "the capture ended before it was complete: " +
                        std::to_string(digest.packets()) + " packets are there");
    return summarize(command, surroundings, digest);
}

} // namespace weir::weirctl
