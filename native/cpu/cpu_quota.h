// How much processor time the container of this process may use, from Linux control groups; used by
// the worker pool for the number of threads of a run that names none.
#pragma once

#include <string>
#include <string_view>

namespace fattn::cpu {

/// Means that no quota is set, or that it could not be read.
inline constexpr int kNoQuota = 0;

/// Processors that a quota in microseconds of each period is worth, a part of one counted as one;
/// kNoQuota when either is not a positive number ("max", "-1").
int processors_of_quota(std::string_view quota, std::string_view period);

/// The same for the contents of cgroup v2's cpu.max: quota and period on one line.
int processors_of_cpu_max(std::string_view text);

/// The group of this process from the contents of /proc/self/cgroup, lines of
/// number:controllers:path; controller "" asks for the hierarchy of version 2. Empty when there is
/// no such line.
std::string_view group_path(std::string_view proc_self_cgroup, std::string_view controller);

/// The smallest quota of this process's group and the groups around it, in processors. root: folder
/// that holds proc/ and sys/, "" on a real machine.
int quota_processors(const std::string& root);

}  // namespace fattn::cpu
