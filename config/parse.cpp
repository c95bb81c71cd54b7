// SPDX-License-Identifier: BSD-3-Clause
// The way from text to Config: document, sections, checks.
#include "config/parse.hpp"

#include <cerrno>
#include <cstring>
#include <exception>
#include <fstream>
#include <utility>

#include "config/document.hpp"
#include "config/draft.hpp"

namespace weir::config {
namespace {

ParseResult whole_file_error(const std::string& file, std::string message, std::string hint) {
    Diagnostic diagnostic;
    diagnostic.file = printable(file, 4096);
    diagnostic.message = std::move(message);
    diagnostic.hint = std::move(hint);
    ParseResult result;
    result.diagnostics.push_back(std::move(diagnostic));
    return result;
}

ParseResult parse(std::string_view text, std::string file) {
    const SourceText source(text, std::move(file));
    Diagnostics diagnostics(source);
    auto document = parse_document(source);
    if (auto* error = std::get_if<SyntaxError>(&document)) {
        diagnostics.add(error->span, std::move(error->message), std::move(error->hint));
        return {std::nullopt, diagnostics.take()};
    }
    const Node& root = std::get<Node>(document);
    Draft draft(diagnostics);
    read_node_wide(root, draft);
    read_interfaces(root, draft);
    read_snat(root, draft);
    read_tunnel(root, draft);
    read_pools(root, draft);
    read_vips(root, draft);
    read_ownership(root, draft);
    check_interfaces(draft);
    check_vips(draft);
    check_pools(draft);
    check_sharing(draft);
    check_snat(draft);
    check_tunnel(draft);
    check_ownership(draft);
    if (!diagnostics.empty()) {
        return {std::nullopt, diagnostics.take()};
    }
    return {std::move(draft.config), {}};
}

} // namespace

ParseResult parse_config(std::string_view text, std::string file) {
    const std::string name = file;
    try {
        return parse(text, std::move(file));
    } catch (const std::exception& failure) { // out of memory
        return whole_file_error(name, std::string("cannot be parsed: ") + failure.what(), "");
    }
}

ParseResult load_config(const std::string& path) {
    errno = 0;
    std::ifstream stream(path, std::ios::binary);
    std::string text(kLargestFile + 1, '\0'); // one more than is accepted: parse() says so
    stream.read(text.data(), static_cast<std::streamsize>(text.size()));
    if (!stream.is_open() || stream.bad()) {
        const std::string why = errno != 0 ? std::strerror(errno) : "read error";
        return whole_file_error(path, "cannot be read: " + why,
                                "give the path of a configuration file that this user may read");
    }
    text.resize(static_cast<std::size_t>(stream.gcount()));
    return parse_config(text, path);
}

} // namespace weir::config
