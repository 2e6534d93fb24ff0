// Private folders of POSIX systems: modes, owners, and calls relative to an opened folder.
#include "cuda/runtime/private_folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <utility>

#include "backend/text.h"
#include "cuda/runtime/environment.h"

namespace fattn::cuda {
namespace {

/// Closes a file descriptor with the object.
class Descriptor {
  public:
    explicit Descriptor(int value) : value_(value) {}
    ~Descriptor() {
        if (value_ >= 0) ::close(value_);
    }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;

    int get() const { return value_; }
    int release() { return std::exchange(value_, -1); }

  private:
    int value_;
};

int descriptor(std::intptr_t opened) { return static_cast<int>(opened); }

Status refuse(const std::string& path, const std::string& why) {
    return {StatusCode::kUnsupported, text("the folder ", path, " cannot be used: ", why)};
}

std::string system_words() {
    // strerror is not safe among threads; its numbers are stable and the common ones named here.
    switch (errno) {
        case EACCES:
        case EPERM:
            return "permission is denied";
        case ENOENT:
            return "a part of the path does not exist";
        case ENOTDIR:
        case ELOOP:
            return "it is not a folder, or a link";
        case EROFS:
            return "the file system is read-only";
        case ENOSPC:
            return "the file system is full";
        default:
            return text("system error ", errno);
    }
}

void make_folders(const std::string& path) {
    for (std::size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
        // Existing folders answer with an error, and what is really wrong shows when it is opened.
        ::mkdir(path.substr(0, slash).c_str(), 0700);
        if (slash == std::string::npos) return;
    }
}

bool write_all(int file, std::string_view content) {
    while (!content.empty()) {
        const ssize_t written = ::write(file, content.data(), content.size());
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return false;
        content.remove_prefix(static_cast<std::size_t>(written));
    }
    return true;
}

}  // namespace

std::string user_cache_folder() {
    const std::string base = environment_variable("XDG_CACHE_HOME");
    if (!base.empty()) return base;
    const std::string home = environment_variable("HOME");
    return home.empty() ? std::string() : home + "/.cache";
}

const char* user_cache_variables() { return "XDG_CACHE_HOME and HOME"; }

Status PrivateFolder::open(const std::string& path, PrivateFolder* folder) {
    if (path.empty() || path.front() != '/') return refuse(path, "the path is not absolute");
    make_folders(path);
    Descriptor opened(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (opened.get() < 0) return refuse(path, system_words());
    struct stat facts {};
    if (::fstat(opened.get(), &facts) != 0) return refuse(path, system_words());
    if (facts.st_uid != ::geteuid()) {
        return refuse(path, text("it belongs to user ", facts.st_uid, ", this process runs as ",
                                 ::geteuid()));
    }
    if ((facts.st_mode & 077U) != 0) {
        return refuse(path, "other users may enter it; its mode must be 0700");
    }
    PrivateFolder made;
    made.path_ = path;
    made.opened_ = opened.release();
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
    if (opened_ >= 0) ::close(descriptor(opened_));
}

bool PrivateFolder::read(const std::string& name, std::string* content) const {
    const Descriptor file(::openat(descriptor(opened_), name.c_str(),
                                   O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
    struct stat facts {};
    if (file.get() < 0 || ::fstat(file.get(), &facts) != 0) return false;
    if (!S_ISREG(facts.st_mode) || facts.st_uid != ::geteuid() || (facts.st_mode & 022U) != 0) {
        return false;
    }
    content->assign(static_cast<std::size_t>(facts.st_size), '\0');
    std::size_t got = 0;
    while (got < content->size()) {
        const ssize_t n = ::read(file.get(), content->data() + got, content->size() - got);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        got += static_cast<std::size_t>(n);
    }
    static_cast<void>(::futimens(file.get(), nullptr));
    return true;
}

bool PrivateFolder::write(const std::string& name, std::string_view content) const {
    static std::atomic<unsigned> counter{0};
    const std::string beside = text(name, ".", ::getpid(), ".", counter.fetch_add(1), ".tmp");
    bool done = false;
    {
        const Descriptor file(::openat(descriptor(opened_), beside.c_str(),
                                       O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
        if (file.get() < 0) return false;
        done = write_all(file.get(), content) && ::fsync(file.get()) == 0;
    }
    done = done &&
           ::renameat(descriptor(opened_), beside.c_str(), descriptor(opened_), name.c_str()) == 0;
    if (!done) ::unlinkat(descriptor(opened_), beside.c_str(), 0);
    return done;
}

void PrivateFolder::remove(const std::string& name) const {
    ::unlinkat(descriptor(opened_), name.c_str(), 0);
}

std::vector<FileEntry> PrivateFolder::list() const {
    std::vector<FileEntry> entries;
    Descriptor again(::openat(descriptor(opened_), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (again.get() < 0) return entries;
    DIR* const stream = ::fdopendir(again.get());
    if (stream == nullptr) return entries;
    again.release();  // closedir closes it
    while (const dirent* item = ::readdir(stream)) {
        struct stat facts {};
        if (::fstatat(descriptor(opened_), item->d_name, &facts, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        if (!S_ISREG(facts.st_mode)) continue;
        entries.push_back(
            {item->d_name, static_cast<std::uint64_t>(facts.st_size),
             std::int64_t{facts.st_mtim.tv_sec} * 1'000'000'000 + facts.st_mtim.tv_nsec});
    }
    ::closedir(stream);
    return entries;
}

}  // namespace fattn::cuda
