/* A disk that hangs or is full for the journal of the program it is loaded into (LD_PRELOAD),
   as long as the file `hang` or `full` exists in the folder DISK_TROUBLE. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static int exists(const char *name) {
    char path[600];
    struct stat found;
    const char *folder = getenv("DISK_TROUBLE");
    if (!folder) return 0;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return stat(path, &found) == 0;
}

static int is_journal(int file) {
    char link[64], path[600];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strstr(path, "weir.db") != NULL;
}

static int refused(int file) {
    if (!is_journal(file)) return 0;
    while (exists("hang")) usleep(5000);
    if (!exists("full")) return 0;
    errno = ENOSPC;
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int file, const void *bytes, size_t count) {
    return refused(file) ? -1 : REAL(write)(file, bytes, count);
}
ssize_t pwrite(int file, const void *bytes, size_t count, off_t at) {
    return refused(file) ? -1 : REAL(pwrite)(file, bytes, count, at);
}
ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t at) {
    return refused(file) ? -1 : REAL(pwrite64)(file, bytes, count, at);
}
int fsync(int file) {
    return refused(file) ? -1 : REAL(fsync)(file);
}
int fdatasync(int file) {
    return refused(file) ? -1 : REAL(fdatasync)(file);
}
