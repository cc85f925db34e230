//! COPY in all directions, in both protocols, and when it fails.

use model::wire::Side::{Client, Server};

use crate::support::{Piece, c, check_session, client, s, server};

#[test]
fn copy_in_with_data_that_was_skipped() {
    check_session(
        &[
            c(&[client::query("COPY t FROM STDIN")]),
            s(&[server::copy_response(b'G')]),
            c(&[client::copy_data(b"1\n"), client::copy_data(b"22\n")]),
            Piece::Skipped(Client, b'd', 520, 4),
            Piece::Skipped(Client, b'd', 5, 0),
            c(&[client::copy_done()]),
            s(&[server::complete("COPY 6"), server::ready('I')]),
        ],
        "simple 'COPY t FROM STDIN' copied=510 I>I 3-9 [copy In; COPY 6 =6]",
    );
}

#[test]
fn copy_out() {
    check_session(
        &[
            c(&[client::query("COPY t TO STDOUT")]),
            s(&[server::copy_response(b'H'), server::copy_data(b"1\n")]),
            Piece::Skipped(Server, b'd', 70, 10),
            s(&[server::copy_done(), server::complete("COPY 11"), server::ready('I')]),
        ],
        "simple 'COPY t TO STDOUT' rows=11 copied=22 I>I 3-6 [copy Out; COPY 11 =11]",
    );
}

#[test]
fn several_copies_in_one_query() {
    check_session(
        &[
            c(&[client::query("COPY a FROM STDIN; COPY b FROM STDIN; COPY c TO STDOUT")]),
            s(&[server::copy_response(b'G')]),
            c(&[client::copy_data(b"1"), client::copy_done()]),
            s(&[server::complete("COPY 1"), server::copy_response(b'G')]),
            c(&[client::copy_done()]),
            s(&[server::complete("COPY 0"), server::copy_response(b'H'), server::copy_done()]),
            s(&[server::complete("COPY 0"), server::ready('I')]),
            c(&[client::query("SELECT 1")]),
            s(&[server::complete("SELECT 1"), server::ready('I')]),
        ],
        "simple 'COPY a FROM STDIN; COPY b FROM STDIN; COPY c TO STDOUT' copied=1 I>I 3-9 \
             [copy In; COPY 1 =1; copy In; COPY 0 =0; copy Out; COPY 0 =0]
        simple 'SELECT 1' I>I 10-11 [SELECT 1 =1]",
    );
}

#[test]
fn a_copy_that_the_client_fails() {
    check_session(
        &[
            c(&[client::query("COPY t FROM STDIN")]),
            s(&[server::copy_response(b'G')]),
            c(&[client::copy_fail("no more")]),
            s(&[server::error("ERROR", "57014", "COPY failed"), server::ready('I')]),
            c(&[client::query("SELECT 1")]),
            s(&[server::complete("SELECT 1"), server::ready('I')]),
        ],
        "simple 'COPY t FROM STDIN' I>I 3-6 [copy In; ERROR 57014 COPY failed]
        simple 'SELECT 1' I>I 7-8 [SELECT 1 =1]",
    );
}

#[test]
fn data_after_a_copy_has_failed_is_ignored() {
    check_session(
        &[
            c(&[client::query("COPY t FROM STDIN")]),
            s(&[server::copy_response(b'G')]),
            c(&[client::copy_data(b"bad")]),
            s(&[server::error("ERROR", "22P02", "bad"), server::ready('I')]),
            c(&[client::copy_data(b"more"), client::copy_done(), client::query("SELECT 1")]),
            s(&[server::complete("SELECT 1"), server::ready('I')]),
        ],
        "simple 'COPY t FROM STDIN' copied=3 I>I 3-6 [copy In; ERROR 22P02 bad]
        simple 'SELECT 1' I>I 7-8 [SELECT 1 =1]",
    );
}

/// libpq sends Sync with the Execute; the server ignores it while it reads COPY data.
#[test]
fn copy_in_by_the_extended_protocol() {
    let batch = [
        client::parse("", "COPY t FROM STDIN", &[]),
        client::bind_text("", &[]),
        client::execute("", 0),
        client::sync(),
    ];
    let select = [client::query("SELECT 1")];
    let selected = [server::complete("SELECT 1"), server::ready('I')];
    check_session(
        &[
            c(&batch),
            s(&[server::parsed(), server::bound(), server::copy_response(b'G')]),
            c(&[client::copy_data(b"1\n"), client::copy_done(), client::sync()]),
            s(&[server::complete("COPY 1"), server::ready('I')]),
            c(&select),
            s(&selected),
        ],
        "execute 'COPY t FROM STDIN' s= p= copied=2 I>I 3-6 [copy In; COPY 1 =1]
        simple 'SELECT 1' I>I 7-8 [SELECT 1 =1]",
    );
    // It fails: whether the first Sync was ignored is not certain, so the next quiet point decides.
    check_session(
        &[
            c(&batch),
            s(&[server::parsed(), server::bound(), server::copy_response(b'G')]),
            c(&[client::copy_data(b"x\n"), client::copy_done(), client::sync()]),
            s(&[server::error("ERROR", "22P02", "bad"), server::ready('I')]),
            c(&select),
            s(&selected),
        ],
        "execute 'COPY t FROM STDIN' s= p= copied=2 I>? 3-6 [copy In; ERROR 22P02 bad]
        simple 'SELECT 1' I>I 7-8 [SELECT 1 =1]",
    );
}

#[test]
fn replication_streams_in_both_directions() {
    check_session(
        &[
            c(&[client::query("START_REPLICATION SLOT s LOGICAL 0/0")]),
            s(&[server::copy_response(b'W'), server::copy_data(b"wwww")]),
            c(&[client::copy_data(b"rr")]),
            Piece::Skipped(Server, b'd', 1000, 10),
            c(&[client::copy_done()]),
            s(&[server::copy_done(), server::complete("COPY 0"), server::ready('I')]),
        ],
        "simple 'START_REPLICATION SLOT s LOGICAL 0/0' copied=956 I>I 3-8 [copy Both; COPY 0 =0]",
    );
}
