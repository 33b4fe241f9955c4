/*
 * key_file.c - reading and making the key file.
 *
 * The file holds 64 hex digits, or a line of them for each key while one is replaced, and is readable by the server's user alone; anything wider is refused, as ssh does. It is made under
 * another name, synced and then linked, so that no process ever sees half a key and of two that make it at once one wins. It is read at
 * each use: nothing keeps the key.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/builtins.h"

#include "catalog/key_file.h"
#include "catalog/settings.h"
#include "core/mem.h"
#include "core/scan.h"

#define KEY_FILE_DEFAULT "ondatra.key"
#define HEX_BYTES        (2 * OND_KEY_BYTES)
#define FILE_BYTES_MAX   (OND_KEYS_MAX * (HEX_BYTES + 2)) /* with line ends */

static char *key_path(void) {
  const char *name = ond_setting_key_file[0] != '\0' ? ond_setting_key_file : KEY_FILE_DEFAULT;

  return is_absolute_path(name) ? pstrdup(name) : psprintf("%s/%s", DataDir, name);
}

/* Only the file's own name is shown: where the server keeps its files is not for everybody. */
static const char *shown(const char *path) {
  return last_dir_separator(path) + 1;
}

static OndKeyResult bad(OndError *err, const char *path, const char *what, const char *hint) {
  ond_error_set(err, "key file \"%s\" %s", shown(path), what);
  strlcpy(err->sqlstate, "28000", sizeof(err->sqlstate));
  ond_error_hint(err, "%s", hint);
  return OND_KEY_BAD;
}

/* 64 hex digits. */
static bool parse_key(const char *text, uint8 key[OND_KEY_BYTES]) {
  for (int i = 0; i < OND_KEY_BYTES; i++) {
    int value = ond_scan_hex(text + 2 * i, 2, 2);

    if (value < 0) {
      return false;
    }
    key[i] = (uint8)value;
  }
  return true;
}

/* Lines of one key each; empty ones at the end. text ends with a NUL. */
static bool parse_keys(const char *text, OndKeys *out) {
  out->n = 0;
  while (text[0] != '\0' && text[strspn(text, "\r\n")] != '\0') {
    if (out->n == OND_KEYS_MAX || strcspn(text, "\r\n") != HEX_BYTES || !parse_key(text, out->keys[out->n])) {
      return false;
    }
    out->n++;
    text += HEX_BYTES;
    text += text[0] == '\r' ? 1 : 0;
    text += text[0] == '\n' ? 1 : 0;
  }
  return out->n > 0;
}

static OndKeyResult read_open_file(int fd, const char *path, OndKeys *keys, OndError *err) {
  struct stat st;
  char text[FILE_BYTES_MAX + 2];
  ssize_t n;
  bool parsed;

  if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
    return bad(err, path, "is not a regular file", "Point ondatra.key_file to a file of 64 hex digits.");
  }
  if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
    return bad(err, path, "may be read by others than the server's user",
               "chmod 600 the file; if others may have read it, set all secrets again "
               "under a new key.");
  }
  n = read(fd, text, sizeof(text) - 1);
  text[Max(n, 0)] = '\0';
  parsed = n >= 0 && n <= FILE_BYTES_MAX && strlen(text) == (size_t)n && parse_keys(text, keys);
  ond_wipe(text, sizeof(text));
  if (!parsed) {
    return bad(err, path, "does not hold a key", "It must hold 64 hex digits and nothing else (while a key is replaced, a line for each). Restore it from a backup.");
  }
  return OND_KEY_OK;
}

OndKeyResult ond_key_read(OndKeys *keys, OndError *err) {
  char *path = key_path();
  int fd = OpenTransientFile(path, O_RDONLY | PG_BINARY | O_NONBLOCK);
  OndKeyResult result;

  if (fd < 0) {
    bool missing = errno == ENOENT;

    bad(err, path, missing ? "does not exist" : psprintf("cannot be opened: %s", strerror(errno)),
        "Restore the file (ondatra.key_file); without it, make one (openssl rand -hex 32, chmod 600) and set all secrets again.");
    return missing ? OND_KEY_MISSING : OND_KEY_BAD;
  }
  result = read_open_file(fd, path, keys, err);
  CloseTransientFile(fd);
  return result;
}

static _Noreturn void refuse_file(const char *verb, const char *path);
static void refuse_file(const char *verb, const char *path) {
  ereport(ERROR, (errcode_for_file_access(), errmsg("could not %s key file \"%s\": %m", verb, shown(path)),
                  errhint("Set ondatra.key_file to a place where the server's user may write.")));
}

static void write_file(const char *path, const char *text, size_t n) {
  int fd = OpenTransientFilePerm(path, O_WRONLY | O_CREAT | O_EXCL | PG_BINARY, S_IRUSR | S_IWUSR);

  if (fd < 0) {
    refuse_file("create", path);
  }
  errno = 0;
  if (write(fd, text, n) != (ssize_t)n || pg_fsync(fd) != 0) {
    if (errno == 0) {
      errno = ENOSPC;
    }
    (void)unlink(path);
    refuse_file("write", path);
  }
  CloseTransientFile(fd);
}

void ond_key_make(void) {
  char *path = key_path();
  char *draft = psprintf("%s.%d.new", path, MyProcPid);
  char *directory = pstrdup(path);
  uint8 key[OND_KEY_BYTES];
  char text[HEX_BYTES + 2];

  if (!pg_strong_random(key, sizeof(key))) {
    ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not get random bytes for a key")));
  }
  hex_encode((const char *)key, sizeof(key), text);
  text[HEX_BYTES] = '\n';
  ond_wipe(key, sizeof(key));
  (void)unlink(draft); /* of a process with our number that died here */
  write_file(draft, text, HEX_BYTES + 1);
  ond_wipe(text, sizeof(text));
  if (link(draft, path) != 0 && errno != EEXIST) {
    int saved = errno;

    (void)unlink(draft);
    errno = saved;
    refuse_file("create", path);
  }
  (void)unlink(draft);
  get_parent_directory(directory);
  fsync_fname(directory, true);
}
