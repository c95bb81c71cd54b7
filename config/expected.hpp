// SPDX-License-Identifier: BSD-3-Clause
// Expected<T>: what control-side code returns instead of throwing: a value, or one sentence that an
// operator can act on (what is wrong, where, what would be right). Plain value type, no threads.
#pragma once

#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

namespace weir {

struct Error {
    std::string sentence;
};

template <class T> class [[nodiscard]] Expected {
    static_assert(!std::is_same_v<std::remove_cv_t<T>, Error>);
    static_assert(!std::is_reference_v<T>);

public:
    using value_type = T;

    Expected(T value) : state_(std::in_place_index<0>, std::move(value)) {}
    Expected(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

    [[nodiscard]] bool has_value() const noexcept { return state_.index() == 0; }
    explicit operator bool() const noexcept { return has_value(); }

    // REQUIRES: has_value(). A broken promise throws std::bad_variant_access at the faulty caller.
    T& value() & { return std::get<0>(state_); }
    const T& value() const& { return std::get<0>(state_); }
    T&& value() && { return std::get<0>(std::move(state_)); }
    T& operator*() & { return value(); }
    const T& operator*() const& { return value(); }
    T&& operator*() && { return std::move(*this).value(); }
    T* operator->() { return &value(); }
    const T* operator->() const { return &value(); }

    // REQUIRES: !has_value().
    const Error& error() const& { return std::get<1>(state_); }
    Error&& error() && { return std::get<1>(std::move(state_)); }

    template <class U> T value_or(U&& fallback) const& {
        return has_value() ? value() : static_cast<T>(std::forward<U>(fallback));
    }

private:
    std::variant<T, Error> state_;
};

template <> class [[nodiscard]] Expected<void> {
public:
    using value_type = void;

    Expected() = default;
    Expected(Error error) : error_(std::move(error)) {}

    [[nodiscard]] bool has_value() const noexcept { return !error_.has_value(); }
    explicit operator bool() const noexcept { return has_value(); }
    void value() const { (void)has_value(); }

    // REQUIRES: !has_value().
    const Error& error() const& { return error_.value(); }
    Error&& error() && { return std::move(error_).value(); }

private:
    std::optional<Error> error_;
};

} // namespace weir
