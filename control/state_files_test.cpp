// SPDX-License-Identifier: BSD-3-Clause
#include "control/state_files.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <sys/stat.h>

namespace weir::control {
namespace {

class StateFilesTest : public ::testing::Test {
protected:
    StateFilesTest() {
        char directory[] = "/tmp/weir-state-XXXXXX";
        EXPECT_NE(::mkdtemp(directory), nullptr);
        directory_ = directory;
    }
    ~StateFilesTest() override { std::filesystem::remove_all(directory_); }
    std::string directory_;
};

TEST_F(StateFilesTest, AdminComesBackAsItWent) {
    Admin admin;
    admin[{"web", "a"}] = {AdminState::kDrain, {}};
    admin[{"web", "b/c\""}] = {AdminState::kDisable, 7};
    admin[{"api", "a"}] = {AdminState::kReady, 0};
    const auto back = admin_from_json(admin_to_json(admin));
    ASSERT_TRUE(back) << back.error().sentence;
    EXPECT_EQ(*back, admin);
}

TEST_F(StateFilesTest, DamagedAdminIsAnError) {
    for (const char* text :
         {"", "{", "[]", "{\"backends\": 1}", "{\"backends\": [{}]}",
          R"({"backends": [{"pool": "p", "backend": "b", "state": "gone"}]})",
          R"({"backends": [{"pool": "p", "backend": "b", "state": "drain", "weight": 65536}]})",
          R"({"backends": [{"pool": "p", "backend": "b", "state": "drain", "weight": -1}]})"})
        EXPECT_FALSE(admin_from_json(text)) << text;
}

TEST_F(StateFilesTest, HashKeyIsMadeOnceAndSecret) {
    const std::string path = directory_ + "/hash.key";
    const auto first = load_hash_key(path);
    ASSERT_TRUE(first) << first.error().sentence;
    const auto second = load_hash_key(path);
    EXPECT_EQ(first->k0, second->k0);
    EXPECT_EQ(first->k1, second->k1);
    struct stat info {};
    ASSERT_EQ(::stat(path.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777u, 0600u);
    ASSERT_TRUE(write_whole(path, "short", 0600));
    EXPECT_FALSE(load_hash_key(path));
}

TEST_F(StateFilesTest, OneControlForADirectory) {
    const std::string fresh = directory_ + "/deep/run";
    const auto first = claim_runtime_directory(fresh);
    ASSERT_TRUE(first) << first.error().sentence;
    const auto second = claim_runtime_directory(fresh);
    ASSERT_FALSE(second);
    EXPECT_NE(second.error().sentence.find("another weir-control"), std::string::npos);
}

TEST_F(StateFilesTest, WhatCannotBeWrittenIsAnErrorAndChangesNothing) {
    const std::string path = directory_ + "/file";
    ASSERT_TRUE(write_whole(path, "before", 0644));
    std::filesystem::create_directory(path + ".new");
    EXPECT_FALSE(write_whole(path, "after", 0644));
    EXPECT_EQ(read_file(path).value(), "before");
}

} // namespace
} // namespace weir::control
