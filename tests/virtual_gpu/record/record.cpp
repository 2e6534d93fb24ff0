// Runs the instruction cases and probes on a GPU and prints what it gave, for
// tests/virtual_gpu/recordings. Usage: record [--folder DIR] [--only PREFIX] [--words] > FILE,
// where DIR holds programs/ (default: .) and --words prints all words of all results. Needs
// libcuda.so.1 alone, which it loads itself. What faults or hangs ends one worker process; the next
// goes on.
#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "cases/cases.h"
#include "cases/probes.h"
#include "record/gpu.h"

namespace {

using namespace fattn::vgpu;

constexpr int kPatience = 20000;    // ms without a line
constexpr size_t kShownWords = 16;  // without --words
constexpr int kContextLost = 3;     // a worker's status
constexpr const char* kWorker = "--worker";

struct Settings {
    std::string folder = ".";
    std::string only;
    size_t jobs = 4;
    bool words = false;
};

// One line of the recordings.
struct Question {
    std::string name;
    Probe (*probe_of)(const Question&);
    std::string (*line_of)(const Question&, const std::vector<uint32_t>& words);
    const InstructionCase* one = nullptr;
    const MmaCase* product = nullptr;
    uint32_t number = 0;  // of a product's inputs
    const Probe* probe = nullptr;
    size_t shown = kShownWords;
};

std::string hex(const char* separator, uint64_t value) {
    char text[32];
    std::snprintf(text, sizeof text, "%s%llx", separator, static_cast<unsigned long long>(value));
    return text;
}

std::string hash_text(uint64_t hash) {
    char text[32];
    std::snprintf(text, sizeof text, " %016llx", static_cast<unsigned long long>(hash));
    return text;
}

Probe probe_of_case(const Question& question) {
    Probe made;
    made.text = case_ptx(*question.one);
    made.grid[0] = kCaseInputs / 128;
    made.block[0] = 128;
    const std::vector<uint64_t> inputs = case_inputs(*question.one);
    std::vector<uint32_t> words(2 * inputs.size());
    std::memcpy(words.data(), inputs.data(), 8 * inputs.size());
    made.buffers = {words, std::vector<uint32_t>(2 * kCaseInputs, 0)};
    made.take_buffer(0);
    made.take_buffer(1);
    return made;
}

std::string line_of_case(const Question& question, const std::vector<uint32_t>& words) {
    const InstructionCase& one = *question.one;
    const std::vector<uint64_t> inputs = case_inputs(one);
    std::vector<uint64_t> outputs(kCaseInputs);
    std::memcpy(outputs.data(), words.data(), 8 * outputs.size());
    std::string line;
    if (one.real) {
        double worst = 0;
        for (uint32_t i = 16; i < kCaseInputs; ++i) {
            const double exact = one.real(std::bit_cast<float>(static_cast<uint32_t>(inputs[i])));
            worst = std::max(
                worst, ulp_error(std::bit_cast<float>(static_cast<uint32_t>(outputs[i])), exact));
        }
        char text[32];
        std::snprintf(text, sizeof text, " %.3f", worst);
        line = "approx " + one.name + text;
    } else {
        line = "exact " + one.name + hash_text(case_hash(outputs));
    }
    for (uint32_t i = 0; i < 16; ++i) line += hex(" ", outputs[i]);
    // Where an exact case differs from what is expected, the first few inputs and results tell how.
    int shown = 0;
    for (uint32_t i = 0; one.expected && i < kCaseInputs && shown < 6; ++i) {
        const uint64_t a = inputs[i], b = inputs[kCaseInputs + i], c = inputs[2 * kCaseInputs + i];
        if (one.expected(a, b, c) == outputs[i]) continue;
        line += std::string(shown++ == 0 ? " differs" : "") + " " + std::to_string(i) +
                hex(":", outputs[i]);
    }
    return line;
}

Probe probe_of_product(const Question& question) {
    Probe made;
    made.text = mma_ptx(*question.product);
    made.buffers = {mma_inputs(*question.product, question.number), std::vector<uint32_t>(128, 0)};
    made.take_buffer(0);
    made.take_buffer(1);
    return made;
}

std::string line_of_product(const Question& question, const std::vector<uint32_t>& words) {
    std::string line = "mma " + question.product->name + " " + std::to_string(question.number);
    for (const uint32_t word : words) line += hex(" ", word);
    return line;
}

Probe probe_itself(const Question& question) { return *question.probe; }

std::string line_of_probe(const Question& question, const std::vector<uint32_t>& words) {
    std::string line = "probe " + question.name + hash_text(words_hash(words));
    for (size_t i = 0; i < std::min(words.size(), question.shown); ++i) line += hex(" ", words[i]);
    return line;
}

std::vector<Question> questions_of(const Settings& settings, const std::vector<Probe>& probes) {
    std::vector<Question> made;
    const auto add = [&](const Question& one) {
        if (one.name.starts_with(settings.only)) made.push_back(one);
    };
    for (const auto* table :
         {&instruction_cases(), &further_cases(), &later_cases(), &further_approximations()}) {
        for (const InstructionCase& one : *table)
            add({.name = one.name,
                 .probe_of = probe_of_case,
                 .line_of = line_of_case,
                 .one = &one});
    }
    for (const MmaCase& one : mma_cases()) {
        for (uint32_t i = 0; i < kMmaProbes; ++i)
            add({.name = "mma." + one.name,
                 .probe_of = probe_of_product,
                 .line_of = line_of_product,
                 .product = &one,
                 .number = i});
    }
    for (const Probe& one : probes)
        add({.name = one.name,
             .probe_of = probe_itself,
             .line_of = line_of_probe,
             .probe = &one,
             .shown = settings.words ? SIZE_MAX : kShownWords});
    return made;
}

// Answers questions `next` to `end`, a line each; ends early when the context is lost.
int work(const std::vector<Question>& questions, size_t next, size_t end) {
    Gpu gpu;
    for (; next < end; ++next) {
        const Question& question = questions[next];
        const Answer answer = gpu.run(question.probe_of(question));
        if (answer.call.empty())
            std::puts(question.line_of(question, answer.words).c_str());
        else
            std::printf("refused %s %s %d\n", question.name.c_str(), answer.call.c_str(),
                        answer.error);
        std::fflush(stdout);
        if (answer.context_lost) return kContextLost;
    }
    return 0;
}

// One worker's lines behind those that there are; how many came.
size_t take_lines(const std::vector<char*>& command, std::vector<std::string>& lines, bool& hung) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) std::exit(1);
    const pid_t worker = fork();
    if (worker < 0) std::exit(1);
    if (worker == 0) {
        dup2(ends[1], STDOUT_FILENO);
        execv("/proc/self/exe", command.data());
        _exit(1);
    }
    close(ends[1]);
    const size_t before = lines.size();
    hung = false;
    std::string rest;
    for (;;) {
        pollfd one{ends[0], POLLIN, 0};
        if (poll(&one, 1, kPatience) == 0) {
            hung = true;
            kill(worker, SIGKILL);
            break;
        }
        char bytes[65536];
        const ssize_t got = read(ends[0], bytes, sizeof bytes);
        if (got <= 0) break;
        rest.append(bytes, static_cast<size_t>(got));
        for (size_t end = rest.find('\n'); end != std::string::npos; end = rest.find('\n')) {
            lines.push_back(rest.substr(0, end));
            rest.erase(0, end + 1);
        }
    }
    close(ends[0]);
    waitpid(worker, nullptr, 0);
    return lines.size() - before;
}

// The answers to questions `first` to `end`, by as many workers after each other as it takes.
std::vector<std::string> answers_of(int argc, char** argv, const std::vector<Question>& questions,
                                    size_t first, size_t end) {
    std::vector<std::string> lines;
    for (size_t next = first; next < end; next = first + lines.size()) {
        std::string begin = std::to_string(next), last = std::to_string(end), word = kWorker;
        std::vector<char*> command(argv, argv + argc);
        for (std::string* one : {&word, &begin, &last}) command.push_back(one->data());
        command.push_back(nullptr);
        bool hung = false;
        const size_t made = take_lines(command, lines, hung);
        // A worker that lost its context has said so in its last line; one that died has not.
        if (made == 0 || hung) {
            if (first + lines.size() == end) break;
            lines.push_back("refused " + questions[first + lines.size()].name +
                            (hung ? " hung" : " died"));
        }
    }
    return lines;
}

}  // namespace

int main(int argc, char** argv) {
    Settings settings;
    size_t from = SIZE_MAX, to = 0;
    for (int i = 1; i < argc; ++i) {
        const std::string word = argv[i];
        if (word == "--words") {
            settings.words = true;
        } else if (i + 1 < argc && word == "--folder") {
            settings.folder = argv[++i];
        } else if (i + 1 < argc && word == "--only") {
            settings.only = argv[++i];
        } else if (i + 1 < argc && word == "--jobs") {
            settings.jobs = std::strtoull(argv[++i], nullptr, 10);
        } else if (i + 2 < argc && word == kWorker) {
            from = std::strtoull(argv[++i], nullptr, 10);
            to = std::strtoull(argv[++i], nullptr, 10);
        } else {
            std::fprintf(stderr, "%s: usage: [--folder DIR] [--only PREFIX] [--jobs N] [--words]\n",
                         word.c_str());
            return 2;
        }
    }
    const std::vector<Probe> probes = all_probes(settings.folder);
    const std::vector<Question> questions = questions_of(settings, probes);
    if (from != SIZE_MAX) return work(questions, from, std::min(to, questions.size()));
    // Without a device nothing is asked.
    std::printf("device %s\n", device_name().c_str());
    const size_t shares = std::max<size_t>(settings.jobs, 1);
    std::vector<std::vector<std::string>> answers(shares);
    std::vector<std::thread> threads;
    for (size_t i = 0; i < shares; ++i) {
        threads.emplace_back([&, i] {
            answers[i] = answers_of(argc, argv, questions, questions.size() * i / shares,
                                    questions.size() * (i + 1) / shares);
        });
    }
    for (std::thread& one : threads) one.join();
    for (const std::vector<std::string>& lines : answers) {
        for (const std::string& line : lines) std::puts(line.c_str());
    }
    return 0;
}
