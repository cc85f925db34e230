/*
 * The door to PostgreSQL's raw parser in libpg_query.
 *
 * Why not libpg_query's own `pg_query_raw_parse`: for each text it redirects standard error of the whole process into
 * a pipe. Two threads at once lose it for ever, other threads lose what they log meanwhile, and without a free
 * descriptor it frees pointers that nobody set. So warnings are switched off where they arise instead.
 *
 * The declarations repeat libpg_query's headers (`utils/elog.h`, `utils/memutils.h`, `parser/parser.h`), which its
 * crate does not hand on.
 */
#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct MemoryContextData *MemoryContext;

extern void pg_query_init(void);
extern MemoryContext AllocSetContextCreateInternal(MemoryContext parent, const char *name, size_t min_context_size,
                                                   size_t init_block_size, size_t max_block_size);
extern void MemoryContextDelete(MemoryContext context);
extern void FlushErrorState(void);
extern void *raw_parser(const char *text, int mode);

extern __thread MemoryContext CurrentMemoryContext;
extern __thread sigjmp_buf *PG_exception_stack;
extern __thread void *error_context_stack;
extern __thread int log_min_messages;
extern __thread int backslash_quote;
extern __thread bool standard_conforming_strings;
extern __thread bool escape_string_warning;

enum {
    RAW_PARSE_DEFAULT = 0,
    BACKSLASH_QUOTE_SAFE_ENCODING = 2,
    ABOVE_ANY_WARNING = 23, /* PANIC: errors are thrown whatever the level */
    INITIAL_BLOCK_BYTES = 8 * 1024,
    MAXIMUM_BLOCK_BYTES = 1024 * 1024,
};

/* The statements of a text, and the context that owns them. False: the grammar does not accept it, nothing is owned. */
bool sql_grammar_parse(const char *text, bool conforming_strings, void **context, void **statements)
{
    pg_query_init();
    log_min_messages = ABOVE_ANY_WARNING;
    backslash_quote = BACKSLASH_QUOTE_SAFE_ENCODING;
    escape_string_warning = false;
    standard_conforming_strings = conforming_strings;

    MemoryContext const outer = CurrentMemoryContext;
    MemoryContext const own =
        AllocSetContextCreateInternal(NULL, "sql", 0, INITIAL_BLOCK_BYTES, MAXIMUM_BLOCK_BYTES);
    sigjmp_buf *const outer_exceptions = PG_exception_stack;
    void *const outer_callbacks = error_context_stack;
    sigjmp_buf here;
    volatile bool accepted = false;

    if (sigsetjmp(here, 0) == 0) {
        PG_exception_stack = &here;
        CurrentMemoryContext = own;
        *statements = raw_parser(text, RAW_PARSE_DEFAULT);
        accepted = true;
    } else {
        FlushErrorState();
    }
    PG_exception_stack = outer_exceptions;
    error_context_stack = outer_callbacks;
    CurrentMemoryContext = outer;

    *context = own;
    if (!accepted) {
        MemoryContextDelete(own);
        *context = NULL;
    }
    return accepted;
}

/* Frees a tree with everything in it, without recursion. */
void sql_grammar_free(void *context)
{
    MemoryContextDelete((MemoryContext)context);
}
