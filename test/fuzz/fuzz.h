/*
 * fuzz.h
 *		What the fuzz targets have in common.  Include it once, in the target.
 *
 * A target is a program of three uses: libFuzzer's (compiled with FE_FUZZER, it
 * gives main); the replay of its corpus, which prints TAP; and, with --write DIR,
 * the writer of the corpus' samples.  Files that begin with "sample-" are such
 * samples, and must be accepted; others are inputs that once led to a bug, or
 * reach code that samples do not: it is enough that they do no harm.
 */
#ifndef FE_FUZZ_H
#define FE_FUZZ_H

#include <dirent.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/tap.h"

/* Of the target: */
extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* Was the last input read to its end? */
static bool fuzz_accepted;
/* Calls fuzz_sample for an input of each kind that there is. */
static void fuzz_samples(void);

/* Something that must hold does not. */
static inline void
fuzz_bug(const char *what)
{
	fprintf(stderr, "BUG: %s\n", what);
	abort();
}

/* Numbers that depend on the input alone. */
static inline uint64_t
fuzz_seed(const uint8_t *data, size_t size)
{
	uint64_t	hash = UINT64_C(14695981039346656037);

	for (size_t i = 0; i < size; i++)
		hash = (hash ^ data[i]) * UINT64_C(1099511628211);
	return hash | 1;
}

#ifndef FE_FUZZER

static const char *fuzz_write_to = NULL;
static int	fuzz_missing = 0;

static FILE *
fuzz_open(const char *dir, const char *prefix, const char *name, const char *mode)
{
	char		path[4096];

	snprintf(path, sizeof(path), "%s/%s%s", dir, prefix, name);
	return fopen(path, mode);
}

static void
fuzz_sample(const char *name, const void *data, size_t size)
{
	FILE	   *f = fuzz_write_to ? fuzz_open(fuzz_write_to, "sample-", name, "wb")
		: fuzz_open(FE_CORPUS, "sample-", name, "rb");

	if (f == NULL)
	{
		printf("# no sample-%s\n", name);
		fuzz_missing++;
		return;
	}
	if (fuzz_write_to != NULL && fwrite(data, 1, size, f) != size)
		fuzz_bug("the corpus cannot be written");
	fclose(f);
}

/* Runs one file, in memory of exactly its size. */
static void
fuzz_replay(const char *name)
{
	FILE	   *f = fuzz_open(FE_CORPUS, "", name, "rb");
	uint8_t    *data;
	long		size;

	if (f == NULL || fseek(f, 0, SEEK_END) != 0 || (size = ftell(f)) < 0)
		fuzz_bug("the corpus cannot be read");
	rewind(f);
	data = malloc(size > 0 ? size : 1);
	if (fread(data, 1, size, f) != (size_t) size)
		fuzz_bug("the corpus cannot be read");
	fclose(f);
	fuzz_accepted = false;
	(void) LLVMFuzzerTestOneInput(data, size);
	free(data);
}

int
main(int argc, char **argv)
{
	struct dirent **files;
	int			nfiles;
	int			nsamples = 0;
	int			refused = 0;

	if (argc == 3 && strcmp(argv[1], "--write") == 0)
		fuzz_write_to = argv[2];
	fuzz_samples();
	if (fuzz_write_to != NULL)
		return fuzz_missing > 0;
	ok(fuzz_missing == 0, "the corpus has a sample of each kind");

	nfiles = scandir(FE_CORPUS, &files, NULL, alphasort);
	for (int i = 0; i < nfiles; i++)
	{
		bool		sample = strncmp(files[i]->d_name, "sample-", 7) == 0;

		if (files[i]->d_name[0] != '.')
		{
			/* the last one named is the one that did the harm */
			printf("# %s\n", files[i]->d_name);
			fflush(stdout);
			fuzz_replay(files[i]->d_name);
		}
		if (sample)
			nsamples++;
		if (sample && !fuzz_accepted)
		{
			printf("# %s is refused\n", files[i]->d_name);
			refused++;
		}
		free(files[i]);
	}
	ok(nsamples > 0 && refused == 0, "no input does harm, and all samples are read to their end");
	free(files);
	return done_testing();
}

#else

static void
fuzz_sample(const char *name, const void *data, size_t size)
{
}

#endif							/* FE_FUZZER */

#endif							/* FE_FUZZ_H */
