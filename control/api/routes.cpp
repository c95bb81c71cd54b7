// SPDX-License-Identifier: BSD-3-Clause
#include "control/api/routes.hpp"

#include <nlohmann/json.hpp>

#include "control/api/capture.hpp"
#include "control/api/connection_list.hpp"
#include "control/api/node_desk.hpp"
#include "control/api/views.hpp"

namespace weir::control {
namespace {

using nlohmann::json;

HttpResponse answer(unsigned status, const json& body) {
    // Names come from outside: what is not UTF-8 is replaced rather than thrown at.
    return {status, "application/json",
            body.dump(-1, ' ', false, json::error_handler_t::replace) + "\n"};
}

HttpResponse refusal(unsigned status, const std::string& sentence) {
    return answer(status, {{"error", sentence}});
}

HttpResponse found_or_not(const std::optional<json>& view, const char* what,
                          const std::string& name) {
    return view ? answer(200, *view)
                : refusal(404, std::string("there is no ") + what + " \"" + name + "\"");
}

HttpResponse expected_view(const Expected<json>& view) {
    return view ? answer(200, *view) : refusal(400, view.error().sentence);
}

HttpResponse health_answer(const Snapshot& snapshot) {
    if (snapshot.ready)
        return {200, "text/plain; charset=utf-8", "ready\n"};
    std::string why = "not forwarding";
    if (!snapshot.problems.empty())
        why = snapshot.problems.front();
    return {503, "text/plain; charset=utf-8", why + "\n"};
}

std::optional<std::string> after(const std::string& path, const std::string& prefix) {
    if (path.rfind(prefix, 0) != 0 || path.size() == prefix.size())
        return std::nullopt;
    return path.substr(prefix.size());
}

HttpResponse get(Controller& controller, const HttpRequest& request) {
    const Snapshot snapshot = controller.snapshot();
    const std::string& path = request.path;
    if (path == "/v1/status")
        return answer(200, status_view(snapshot));
    if (path == "/v1/vips")
        return answer(200, vips_view(snapshot));
    if (const auto name = after(path, "/v1/vips/"))
        return found_or_not(vip_view(snapshot, *name), "VIP", *name);
    if (path == "/v1/pools")
        return answer(200, pools_view(snapshot));
    if (const auto name = after(path, "/v1/pools/"))
        return found_or_not(pool_view(snapshot, *name), "pool", *name);
    if (path == "/v1/counters")
        return answer(200, counters_view(snapshot));
    if (path == "/v1/drops")
        return answer(200, drops_view(snapshot));
    if (path == "/v1/events") {
        const auto after_number = query_number(request.query, "after", 0, UINT64_MAX, 0);
        return after_number ? answer(200, events_view(controller.events(), *after_number))
                            : refusal(400, after_number.error().sentence);
    }
    if (path == "/v1/explain")
        return expected_view(explain_view(snapshot, query_value(request.query, "packet")));
    if (path == "/metrics")
        return {200, "application/openmetrics-text; version=1.0.0; charset=utf-8",
                metrics_text(snapshot)};
    if (path == "/healthz")
        return health_answer(snapshot);
    return refusal(404, "there is nothing at " + path + "; docs/api.md lists what there is");
}

void apply(Controller& controller, const HttpRequest& request, const HttpRespond& respond) {
    std::string file = query_value(request.query, "file");
    if (file.empty())
        file = "(request)";
    auto decision = std::make_shared<ReloadDecision>();
    *decision = controller.apply(request.body, file, [decision, respond](std::uint64_t generation) {
        respond(answer(200, apply_view(*decision, generation)));
    });
    if (decision->config)
        return;
    const Snapshot snapshot = controller.snapshot();
    respond(answer(422, apply_view(*decision, snapshot.live ? snapshot.live->number() : 0)));
}

Expected<BackendAdmin> wished(BackendAdmin wish, const std::string& body) {
    const Error usage{R"(the body has to be {"action": "drain"}, "ready", "disable", or )"
                      R"({"action": "weight", "weight": 0 to 65535})"};
    const json request = json::parse(body, nullptr, false);
    if (!request.is_object() || !request.contains("action") || !request["action"].is_string())
        return usage;
    const auto action = request["action"].get<std::string>();
    if (action == "drain") {
        wish.state = AdminState::kDrain;
    } else if (action == "disable") {
        wish.state = AdminState::kDisable;
    } else if (action == "ready") {
        wish.state = AdminState::kReady;
    } else if (action == "weight") {
        if (!request.contains("weight") || !request["weight"].is_number_unsigned() ||
            request["weight"].get<std::uint64_t>() > 65535)
            return usage;
        wish.weight = request["weight"].get<std::uint16_t>();
    } else {
        return usage;
    }
    return wish;
}

void operate(Controller& controller, const HttpRequest& request, const std::string& pool,
             const std::string& backend, const HttpRespond& respond) {
    if (!controller.has_backend(pool, backend)) {
        respond(refusal(404, "there is no backend \"" + pool + "/" + backend +
                                 "\"; `weirctl pool list` shows them"));
        return;
    }
    auto wish = wished(controller.admin_of(pool, backend), request.body);
    if (!wish) {
        respond(refusal(400, wish.error().sentence));
        return;
    }
    auto done = [&controller, pool, backend, respond](std::uint64_t generation) {
        const auto view = pool_view(controller.snapshot(), pool);
        json result{{"pool", pool}, {"backend", backend}, {"generation", generation}};
        if (view)
            for (const json& entry : (*view)["backends"])
                if (entry["name"] == backend) {
                    result["state"] = entry["state"];
                    result["weight"] = entry["weight"];
                }
        respond(answer(200, result));
    };
    if (auto set = controller.set_admin(pool, backend, *wish, std::move(done)); !set)
        respond(refusal(500, set.error().sentence));
}

NodeDesk::Traffic traffic_of(const Snapshot& snapshot) {
    NodeDesk::Traffic traffic;
    if (snapshot.compiled == nullptr)
        return traffic;
    for (const auto id : snapshot.compiled->vip_ids) {
        const lb::VipCounters counters = vip_counters(snapshot, id);
        traffic.packets += counters.packets + counters.reply_packets;
        traffic.connections += counters.connections_active;
    }
    return traffic;
}

NodeDesk::Access access_for_node(Controller& controller) {
    return {.groups = [&controller] { return controller.snapshot().election.groups; },
            .set_drained = [&controller](bool drained) { return controller.set_drained(drained); },
            .traffic = [&controller] { return traffic_of(controller.snapshot()); }};
}

void post(Controller& controller, NodeDesk& node, const HttpRequest& request,
          const HttpRespond& respond) {
    if (!request.local) {
        respond(refusal(403, "changes are made over the Unix socket only"));
        return;
    }
    if (request.path == "/v1/apply") {
        apply(controller, request, respond);
        return;
    }
    if (request.path == "/v1/node") {
        node.handle(request, respond);
        return;
    }
    constexpr std::string_view kMiddle = "/backends/";
    if (const auto rest = after(request.path, "/v1/pools/")) {
        if (const std::size_t at = rest->find(kMiddle); at != std::string::npos) {
            operate(controller, request, rest->substr(0, at), rest->substr(at + kMiddle.size()),
                    respond);
            return;
        }
    }
    respond(refusal(404, "there is nothing to change at " + request.path));
}

} // namespace

HttpHandler api_routes(boost::asio::io_context& io, Controller& controller) {
    auto desk = std::make_shared<CaptureDesk>(
        io, CaptureDesk::Access{.snapshot = [&controller] { return controller.snapshot(); },
                                .order =
                                    [&controller](const channel::Capture& order) {
                                        return controller.order_capture(order);
                                    }});
    auto node = std::make_shared<NodeDesk>(io, access_for_node(controller));
    return [&io, &controller, desk, node](const HttpRequest& request, const HttpRespond& respond) {
        if (request.method == "GET" && request.path == "/v1/capture")
            respond(desk->start(request));
        else if (request.method == "GET" && request.path == "/v1/connections")
            list_connections(
                io, [&controller] { return controller.snapshot(); }, request.query, respond);
        else if (request.method == "GET")
            respond(get(controller, request));
        else if (request.method == "POST")
            post(controller, *node, request, respond);
        else
            respond(refusal(405, "only GET and POST are understood"));
    };
}

} // namespace weir::control
