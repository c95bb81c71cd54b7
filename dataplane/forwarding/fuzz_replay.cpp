// SPDX-License-Identifier: BSD-3-Clause
// A fuzzer's committed inputs through its target, without libFuzzer: fuzz_replay FILE, a line of
// hexadecimal digits an input (tests/corpus/). A finding aborts; a file without inputs fails.
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <memory>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size);

namespace {

int digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// On the heap and no longer than it is, so that a sanitizer sees what reads past its end.
bool replay(const std::string& line) {
    const size_t size = line.size() / 2;
    if (line.size() % 2 != 0)
        return false;
    const std::unique_ptr<uint8_t[]> bytes(new uint8_t[size]);
    for (size_t i = 0; i < size; i++) {
        const int high = digit(line[2 * i]);
        const int low = digit(line[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        bytes[i] = static_cast<uint8_t>(high << 4 | low);
    }
    LLVMFuzzerTestOneInput(bytes.get(), size);
    return true;
}

} // namespace

int main(int count, char** argument) {
    if (count != 2)
        return 2;
    std::ifstream file(argument[1]);
    int number = 0;
    int inputs = 0;
    for (std::string line; std::getline(file, line);) {
        number++;
        if (line.empty() || line[0] == '#')
            continue;
        // Said first: after an abort it is the last line of the output.
        printf("%s:%d\n", argument[1], number);
        fflush(stdout);
        if (!replay(line)) {
            fprintf(stderr, "%s:%d: not hexadecimal\n", argument[1], number);
            return 1;
        }
        inputs++;
    }
    printf("%d inputs\n", inputs);
    return inputs == 0 ? 1 : 0;
}
