// The description of the header: complete against the header's text, correct against the compiler.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "fused_attention/fused_attention.h"

namespace {

struct Field {
    std::string name;
    uint32_t offset;
    uint32_t size;
};

struct Structure {
    uint32_t size = 0;
    std::vector<Field> fields;
};

fattn_abi_description description() {
    fattn_abi_description d{};
    d.struct_size = sizeof(d);
    EXPECT_EQ(fattn_abi_describe(&d), FATTN_STATUS_OK) << fattn_last_error();
    return d;
}

std::map<std::string, Structure> structures() {
    std::map<std::string, Structure> all;
    const fattn_abi_description d = description();
    for (uint64_t i = 0; i < d.num_entries; ++i) {
        const fattn_abi_entry& entry = d.entries[i];
        if (entry.field == nullptr) {
            EXPECT_EQ(all.count(entry.structure), 0u) << entry.structure << " comes twice";
            EXPECT_EQ(entry.offset, 0u);
            all[entry.structure].size = entry.size;
        } else {
            all[entry.structure].fields.push_back({entry.field, entry.offset, entry.size});
        }
    }
    return all;
}

/// Struct names and their field names, in order, as the header's text has them.
std::map<std::string, std::vector<std::string>> header_structures() {
    std::stringstream buffer;
    for (const auto& part :
         std::filesystem::directory_iterator(FATTN_SOURCE_DIR "/native/include/fused_attention")) {
        std::ifstream file(part.path());
        EXPECT_TRUE(file.good()) << part.path();
        buffer << file.rdbuf();
    }
    const std::string code =
        std::regex_replace(buffer.str(), std::regex(R"(/\*[^*]*\*+([^/*][^*]*\*+)*/)"), "");
    std::map<std::string, std::vector<std::string>> all;
    const std::regex structure(R"(typedef struct (fattn_\w+) \{([^}]*)\} (fattn_\w+);)");
    const std::regex last_name(R"((\w+)\s*(\[\d+\])?\s*$)");
    for (std::sregex_iterator it(code.begin(), code.end(), structure), end; it != end; ++it) {
        EXPECT_EQ((*it)[1], (*it)[3]);
        std::vector<std::string>& fields = all[(*it)[1]];
        std::stringstream members((*it)[2].str());
        for (std::string member; std::getline(members, member, ';');) {
            // One declaration may name several fields: int64_t shape[4], strides[4].
            std::stringstream names(member);
            for (std::string name; std::getline(names, name, ',');) {
                std::smatch match;
                if (std::regex_search(name, match, last_name)) fields.push_back(match[1]);
            }
        }
    }
    return all;
}

TEST(Describe, NamesEveryStructAndFieldOfTheHeaderInOrder) {
    const auto declared = header_structures();
    EXPECT_GE(declared.size(), 20u);
    std::map<std::string, std::vector<std::string>> described;
    for (const auto& [name, structure] : structures()) {
        for (const Field& field : structure.fields) described[name].push_back(field.name);
    }
    EXPECT_EQ(described, declared);
}

TEST(Describe, FieldsFillTheirStructWithoutHoles) {
    for (const auto& [name, structure] : structures()) {
        uint32_t end = 0;
        for (const Field& field : structure.fields) {
            EXPECT_EQ(field.offset, end) << name << "." << field.name;
            end = field.offset + field.size;
        }
        EXPECT_EQ(end, structure.size) << name;
    }
}

TEST(Describe, GrowingStructsBeginWithSizeAndFlags) {
    const std::set<std::string> frozen = {"fattn_layout", "fattn_abi_entry"};
    for (const auto& [name, structure] : structures()) {
        if (frozen.count(name) != 0) continue;
        ASSERT_GE(structure.fields.size(), 2u) << name;
        EXPECT_EQ(structure.fields[0].name, "struct_size") << name;
        EXPECT_EQ(structure.fields[1].name,
                  name == "fattn_abi_description" ? "abi_version" : "flags");
    }
}

TEST(Describe, AgreesWithTheCompiler) {
    const auto all = structures();
    const auto place = [&](const std::string& structure, const std::string& field) {
        for (const Field& f : all.at(structure).fields) {
            if (f.name == field) return std::pair(f.offset, f.size);
        }
        return std::pair(~0u, ~0u);
    };
#define EXPECT_PLACE(type, field)                                                           \
    EXPECT_EQ(place(#type, #field), std::pair(static_cast<uint32_t>(offsetof(type, field)), \
                                              static_cast<uint32_t>(sizeof(type::field))))
    EXPECT_PLACE(fattn_layout, strides);
    EXPECT_PLACE(fattn_run, cancel);
    EXPECT_PLACE(fattn_dense_problem, window_left);
    EXPECT_PLACE(fattn_dense_problem, mask_program);
    EXPECT_PLACE(fattn_dense_forward_args, k_position_offset);
    EXPECT_PLACE(fattn_dense_backward_args, d_sink_logits);
    EXPECT_PLACE(fattn_neighborhood_problem, num_axes);
    EXPECT_PLACE(fattn_lightning_problem, feature_map);
    EXPECT_PLACE(fattn_permuted_block_problem, coverage);
    EXPECT_PLACE(fattn_s2_problem, dense_heads);
    EXPECT_PLACE(fattn_device_description, reason);
    EXPECT_PLACE(fattn_plan_description, backward_kernel);
    EXPECT_PLACE(fattn_merge_args, lse_parts);
    EXPECT_PLACE(fattn_cache_append_args, slots);
#undef EXPECT_PLACE
    EXPECT_EQ(all.at("fattn_layout").size, 72u);
    EXPECT_EQ(all.at("fattn_run").size, sizeof(fattn_run));
    EXPECT_EQ(all.at("fattn_dense_problem").size, sizeof(fattn_dense_problem));
}

TEST(Describe, SaysWhichVersionsItIs) {
    const fattn_abi_description d = description();
    EXPECT_EQ(d.abi_version, static_cast<uint32_t>(FATTN_ABI_VERSION));
    EXPECT_TRUE(std::regex_match(d.library_version, std::regex(R"(\d+\.\d+\.\d+)")))
        << d.library_version;
}

TEST(Describe, AnOlderCallerGetsWhatItKnows) {
    fattn_abi_description d;
    std::memset(&d, 0xAB, sizeof(d));
    d.struct_size = 8;
    ASSERT_EQ(fattn_abi_describe(&d), FATTN_STATUS_OK);
    EXPECT_EQ(d.struct_size, 8u);
    EXPECT_EQ(d.abi_version, static_cast<uint32_t>(FATTN_ABI_VERSION));
    EXPECT_EQ(d.num_entries, 0xABABABABABABABABu);
    EXPECT_EQ(fattn_abi_describe(nullptr), FATTN_STATUS_INVALID_ARGUMENT);
}

}  // namespace
