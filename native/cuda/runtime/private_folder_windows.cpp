// Private folders of Windows: owners and access lists, and a folder that is held open, so that its
// path stays its own.
#include <windows.h>
// After windows.h, which they need.
#include <aclapi.h>
#include <sddl.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <utility>

#include "backend/text.h"
#include "cuda/runtime/environment.h"
#include "cuda/runtime/private_folder.h"
#include "cuda/runtime/windows_text.h"

namespace fattn::cuda {
namespace {

constexpr std::int64_t kTicksToUnix = 116'444'736'000'000'000;  // of 100 ns, from 1601 to 1970
constexpr std::int64_t kNanosecondsOfTick = 100;

HANDLE handle_of(std::intptr_t opened) { return reinterpret_cast<HANDLE>(opened); }

/// Closes a handle with the object.
class Opened {
  public:
    explicit Opened(HANDLE handle) : handle_(handle) {}
    ~Opened() {
        if (exists()) CloseHandle(handle_);
    }
    Opened(const Opened&) = delete;
    Opened& operator=(const Opened&) = delete;

    bool exists() const { return handle_ != INVALID_HANDLE_VALUE && handle_ != nullptr; }
    HANDLE get() const { return handle_; }
    HANDLE release() { return std::exchange(handle_, INVALID_HANDLE_VALUE); }

  private:
    HANDLE handle_;
};

struct FreeLocal {
    void operator()(void* memory) const { LocalFree(memory); }
};

Status refuse(const std::string& path, const std::string& why) {
    return {StatusCode::kUnsupported, text("the folder ", path, " cannot be used: ", why)};
}

std::string system_words() {
    const DWORD error = GetLastError();
    switch (error) {
        case ERROR_ACCESS_DENIED:
            return "permission is denied";
        case ERROR_FILE_NOT_FOUND:
        case ERROR_PATH_NOT_FOUND:
            return "a part of the path does not exist";
        case ERROR_DISK_FULL:
            return "the file system is full";
        default:
            return text("system error ", static_cast<unsigned long>(error));
    }
}

/// The user of this process, as an identifier that is part of the buffer.
class ProcessUser {
  public:
    ProcessUser() {
        HANDLE token = nullptr;
        if (OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &token) == 0) return;
        const Opened closes(token);
        DWORD needed = 0;
        GetTokenInformation(token, TokenUser, nullptr, 0, &needed);
        buffer_.resize(needed);
        if (GetTokenInformation(token, TokenUser, buffer_.data(), needed, &needed) == 0) {
            buffer_.clear();
        }
    }
    bool known() const { return !buffer_.empty(); }
    PSID id() const { return reinterpret_cast<const TOKEN_USER*>(buffer_.data())->User.Sid; }
    std::wstring name() const {
        LPWSTR words = nullptr;
        if (!known() || ConvertSidToStringSidW(id(), &words) == 0) return {};
        const std::unique_ptr<wchar_t, FreeLocal> frees(words);
        return words;
    }

  private:
    std::string buffer_;
};

/// Whether a user may have access: this one, the system and its administrators, who have access to
/// everything.
bool is_trusted(const ProcessUser& user, PSID id) {
    return EqualSid(id, user.id()) != 0 || IsWellKnownSid(id, WinLocalSystemSid) != 0 ||
           IsWellKnownSid(id, WinBuiltinAdministratorsSid) != 0;
}

/// Empty when a file or folder is of this user, and nobody else may enter it.
std::string why_not_private(const ProcessUser& user, HANDLE file) {
    PSID owner = nullptr;
    PACL access = nullptr;
    PSECURITY_DESCRIPTOR descriptor = nullptr;
    if (GetSecurityInfo(file, SE_FILE_OBJECT,
                        OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION, &owner, nullptr,
                        &access, nullptr, &descriptor) != ERROR_SUCCESS) {
        return "its owner cannot be read";
    }
    const std::unique_ptr<void, FreeLocal> frees(descriptor);
    if (!is_trusted(user, owner)) return "it belongs to another user";
    if (access == nullptr) return "everybody may enter it";
    for (DWORD n = 0; n < access->AceCount; ++n) {
        void* entry = nullptr;
        if (GetAce(access, n, &entry) == 0) return "its access list cannot be read";
        const auto* const header = static_cast<const ACE_HEADER*>(entry);
        if (header->AceType == ACCESS_DENIED_ACE_TYPE) continue;
        if (header->AceType != ACCESS_ALLOWED_ACE_TYPE) return "its access list has unknown parts";
        auto* const allowed = static_cast<ACCESS_ALLOWED_ACE*>(entry);
        if (!is_trusted(user, &allowed->SidStart)) {
            return "other users may enter it; its access list must name this user alone";
        }
    }
    return {};
}

bool is_separator(char c) { return c == '/' || c == '\\'; }

bool is_absolute(const std::string& path) {
    const bool drive = path.size() >= 3 && path[1] == ':' && is_separator(path[2]);
    const bool share = path.size() >= 3 && is_separator(path[0]) && is_separator(path[1]);
    return drive || share;
}

/// The access list of what is made here: for one user alone, and so for what is made in it.
class ForUserAlone {
  public:
    explicit ForUserAlone(const ProcessUser& user) {
        const std::wstring rule = L"D:P(A;OICI;FA;;;" + user.name() + L")";
        PSECURITY_DESCRIPTOR descriptor = nullptr;
        ConvertStringSecurityDescriptorToSecurityDescriptorW(rule.c_str(), SDDL_REVISION_1,
                                                             &descriptor, nullptr);
        descriptor_.reset(descriptor);
        attributes_.lpSecurityDescriptor = descriptor;
    }
    bool known() const { return descriptor_ != nullptr; }
    SECURITY_ATTRIBUTES* attributes() { return &attributes_; }

  private:
    std::unique_ptr<void, FreeLocal> descriptor_;
    SECURITY_ATTRIBUTES attributes_{sizeof(SECURITY_ATTRIBUTES), nullptr, FALSE};
};

void make_folders(const ProcessUser& user, const std::string& path) {
    ForUserAlone rule(user);
    if (!rule.known()) return;
    for (std::size_t end = 3; end <= path.size(); ++end) {
        // Existing folders answer with an error, and what is really wrong shows when it is opened.
        if (end == path.size() || is_separator(path[end])) {
            CreateDirectoryW(utf16(path.substr(0, end)).c_str(), rule.attributes());
        }
    }
}

std::wstring file_in(const std::string& folder, const std::string& name) {
    return utf16(text(folder, "\\", name));
}

bool write_all(HANDLE file, std::string_view content) {
    constexpr std::size_t kMostAtOnce = std::size_t{1} << 30;
    while (!content.empty()) {
        DWORD written = 0;
        const auto part = static_cast<DWORD>(std::min(content.size(), kMostAtOnce));
        if (WriteFile(file, content.data(), part, &written, nullptr) == 0 || written == 0) {
            return false;
        }
        content.remove_prefix(written);
    }
    return FlushFileBuffers(file) != 0;
}

bool read_all(HANDLE file, std::string* content) {
    LARGE_INTEGER size;
    if (GetFileSizeEx(file, &size) == 0) return false;
    content->assign(static_cast<std::size_t>(size.QuadPart), '\0');
    constexpr std::size_t kMostAtOnce = std::size_t{1} << 30;
    for (std::size_t got = 0; got < content->size();) {
        DWORD read = 0;
        const auto part = static_cast<DWORD>(std::min(content->size() - got, kMostAtOnce));
        if (ReadFile(file, content->data() + got, part, &read, nullptr) == 0 || read == 0) {
            return false;
        }
        got += read;
    }
    return true;
}

/// Whether something is a file, or a folder, and no link.
bool is_plain(HANDLE file, bool folder) {
    BY_HANDLE_FILE_INFORMATION facts;
    if (GetFileInformationByHandle(file, &facts) == 0) return false;
    const bool is_folder = (facts.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) != 0;
    return is_folder == folder && (facts.dwFileAttributes & FILE_ATTRIBUTE_REPARSE_POINT) == 0;
}

}  // namespace

std::string user_cache_folder() { return environment_variable("LOCALAPPDATA"); }

const char* user_cache_variables() { return "LOCALAPPDATA"; }

Status PrivateFolder::open(const std::string& path, PrivateFolder* folder) {
    if (!is_absolute(path)) return refuse(path, "the path is not absolute");
    const ProcessUser user;
    if (!user.known()) return refuse(path, "the user of this process is not known");
    make_folders(user, path);
    // Nobody may rename or remove it while it is open.
    Opened opened(CreateFileW(utf16(path).c_str(), FILE_LIST_DIRECTORY | READ_CONTROL,
                              FILE_SHARE_READ | FILE_SHARE_WRITE, nullptr, OPEN_EXISTING,
                              FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT, nullptr));
    if (!opened.exists()) return refuse(path, system_words());
    if (!is_plain(opened.get(), true)) return refuse(path, "it is not a folder, or a link");
    const std::string why = why_not_private(user, opened.get());
    if (!why.empty()) return refuse(path, why);
    PrivateFolder made;
    made.path_ = path;
    made.opened_ = reinterpret_cast<std::intptr_t>(opened.release());
    *folder = std::move(made);
    return {};
}

PrivateFolder::PrivateFolder(PrivateFolder&& other) noexcept
    : path_(std::move(other.path_)), opened_(std::exchange(other.opened_, -1)) {}

PrivateFolder& PrivateFolder::operator=(PrivateFolder&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(opened_, other.opened_);
    return *this;
}

PrivateFolder::~PrivateFolder() {
    if (opened_ != -1) CloseHandle(handle_of(opened_));
}

bool PrivateFolder::read(const std::string& name, std::string* content) const {
    // Writing attributes is for the time of its last use.
    const Opened file(CreateFileW(file_in(path_, name).c_str(),
                                  GENERIC_READ | FILE_WRITE_ATTRIBUTES,
                                  FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, nullptr,
                                  OPEN_EXISTING, FILE_FLAG_OPEN_REPARSE_POINT, nullptr));
    if (!file.exists() || !is_plain(file.get(), false)) return false;
    const ProcessUser user;
    if (!user.known() || !why_not_private(user, file.get()).empty()) return false;
    if (!read_all(file.get(), content)) return false;
    FILETIME now;
    GetSystemTimeAsFileTime(&now);
    SetFileTime(file.get(), nullptr, nullptr, &now);
    return true;
}

bool PrivateFolder::write(const std::string& name, std::string_view content) const {
    static std::atomic<unsigned> counter{0};
    const std::wstring beside =
        file_in(path_, text(name, ".", static_cast<unsigned long>(GetCurrentProcessId()), ".",
                            counter.fetch_add(1), ".tmp"));
    const ProcessUser user;
    if (!user.known()) return false;
    ForUserAlone rule(user);
    if (!rule.known()) return false;
    bool done = false;
    {
        const Opened file(CreateFileW(beside.c_str(), GENERIC_WRITE, 0, rule.attributes(),
                                      CREATE_NEW, FILE_ATTRIBUTE_NORMAL, nullptr));
        if (!file.exists()) return false;
        done = write_all(file.get(), content);
    }
    done = done && MoveFileExW(beside.c_str(), file_in(path_, name).c_str(),
                               MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH) != 0;
    if (!done) DeleteFileW(beside.c_str());
    return done;
}

void PrivateFolder::remove(const std::string& name) const {
    DeleteFileW(file_in(path_, name).c_str());
}

std::vector<FileEntry> PrivateFolder::list() const {
    std::vector<FileEntry> entries;
    WIN32_FIND_DATAW found;
    const HANDLE search = FindFirstFileW(file_in(path_, "*").c_str(), &found);
    if (search == INVALID_HANDLE_VALUE) return entries;
    do {
        if ((found.dwFileAttributes & (FILE_ATTRIBUTE_DIRECTORY | FILE_ATTRIBUTE_REPARSE_POINT)) !=
            0) {
            continue;
        }
        const std::int64_t ticks = std::int64_t{found.ftLastWriteTime.dwHighDateTime} << 32 |
                                   found.ftLastWriteTime.dwLowDateTime;
        entries.push_back({utf8(found.cFileName),
                           std::uint64_t{found.nFileSizeHigh} << 32 | found.nFileSizeLow,
                           (ticks - kTicksToUnix) * kNanosecondsOfTick});
    } while (FindNextFileW(search, &found) != 0);
    FindClose(search);
    return entries;
}

}  // namespace fattn::cuda
