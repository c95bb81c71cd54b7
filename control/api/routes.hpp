// SPDX-License-Identifier: BSD-3-Clause
// From requests to views and to what the controller is asked to change. Called by the server.
#pragma once

#include "control/api/server.hpp"
#include "control/controller.hpp"

namespace weir::control {

// The controller must outlive the handler.
HttpHandler api_routes(boost::asio::io_context& io, Controller& controller);

} // namespace weir::control
