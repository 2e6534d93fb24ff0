// Tells ThreadSanitizer what needs no watching; used by the evaluations that tests compare with.
#pragma once

// ThreadSanitizer's library defines these; in other programs they are null.
extern "C" {
__attribute__((weak)) void AnnotateIgnoreReadsBegin(const char* file, int line);
__attribute__((weak)) void AnnotateIgnoreReadsEnd(const char* file, int line);
__attribute__((weak)) void AnnotateIgnoreWritesBegin(const char* file, int line);
__attribute__((weak)) void AnnotateIgnoreWritesEnd(const char* file, int line);
}

namespace fattn::test {

/// While one lives ThreadSanitizer does not record what this thread reads and writes. For work of
/// one thread on memory of its own, as filling tensors and evaluating the reference is: recording
/// whole tensors that are cleared or copied took most of the time of sanitized random problems.
class Unwatched {
  public:
    Unwatched() {
        if (AnnotateIgnoreReadsBegin == nullptr) return;
        AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
        AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
    }
    ~Unwatched() {
        if (AnnotateIgnoreReadsEnd == nullptr) return;
        AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
        AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
    }
    Unwatched(const Unwatched&) = delete;
    Unwatched& operator=(const Unwatched&) = delete;
};

}  // namespace fattn::test
