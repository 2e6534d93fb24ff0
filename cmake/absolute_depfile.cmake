# Makes the paths of a dependency file absolute that begin at the tree's root: DEPFILE, ROOT. Run after a compiler that was started
# there, because a build tool takes relative paths from the build folder and, not finding them, builds anew every time.
file(READ "${DEPFILE}" rules)
string(REPLACE " " "\\ " root "${ROOT}")
string(REGEX REPLACE "([ \n])native/" "\\1${root}/native/" rules "${rules}")
file(WRITE "${DEPFILE}" "${rules}")
