/* A client of libpq 18 whose own OAuth flow finds the token in the environment. Prints what the server told it, and
 * whether the session works. Declarations as in libpq-fe.h of 18: the package of the server has no headers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct pg_conn PGconn;
typedef struct pg_result PGresult;

typedef enum { PQAUTHDATA_PROMPT_OAUTH_DEVICE, PQAUTHDATA_OAUTH_BEARER_TOKEN } PGauthData;

typedef struct PGoauthBearerRequest {
    const char *openid_configuration;
    const char *scope;
    int (*async)(PGconn *conn, struct PGoauthBearerRequest *request, int *socket);
    void (*cleanup)(PGconn *conn, struct PGoauthBearerRequest *request);
    char *token;
    void *user;
} PGoauthBearerRequest;

typedef int (*Hook)(PGauthData type, PGconn *conn, void *data);
void PQsetAuthDataHook(Hook hook);
PGconn *PQconnectdb(const char *parameters);
int PQstatus(const PGconn *conn);
char *PQerrorMessage(const PGconn *conn);
PGresult *PQexec(PGconn *conn, const char *sql);
char *PQgetvalue(const PGresult *result, int row, int column);

static int flow(PGauthData type, PGconn *conn, void *data)
{
    PGoauthBearerRequest *request = data;
    (void) conn;
    if (type != PQAUTHDATA_OAUTH_BEARER_TOKEN)
        return 0;
    printf("%s %s\n", request->openid_configuration, request->scope);
    request->token = getenv("TOKEN");
    return 1;
}

int main(int count, char **arguments)
{
    PGconn *conn;
    if (count != 2)
        return 2;
    PQsetAuthDataHook(flow);
    conn = PQconnectdb(arguments[1]);
    if (PQstatus(conn) != 0) {
        fputs(PQerrorMessage(conn), stderr);
        return 1;
    }
    puts(PQgetvalue(PQexec(conn, "select current_user"), 0, 0));
    return 0;
}
