//! Encryption, start-up, authentication, cancel.

use crate::support::{Piece, c, check, client, s, server};
use wire_pg::Start::{FirstByte, MidStream};

#[test]
fn a_login_in_plaintext() {
    check(
        FirstByte,
        &[
            c(&[client::startup("ann", "shop")]),
            s(&[server::auth(10)]),
            c(&[client::password("SCRAM-SHA-256 secret")]),
            s(&[server::auth(11)]),
            c(&[client::password("proof")]),
            s(&[
                server::auth(12),
                server::auth(0),
                server::status("TimeZone", "UTC"),
                server::key(42),
                server::ready('I'),
            ]),
            c(&[client::terminate()]),
        ],
        "encryption Plaintext
        startup 3.0 user=ann database=shop
        authentication sasl
        authenticated
        status TimeZone=UTC
        pid 42
        terminated",
    );
}

#[test]
fn encryption_requests_in_either_order() {
    let end = "startup 3.0 user=u database=d";
    for (pieces, expect) in [
        (vec![c(&[client::ssl_request()]), s(&[b"S".to_vec()])], "encryption Tls"),
        (vec![c(&[client::ssl_request()]), s(&[b"N".to_vec()])], "encryption Plaintext"),
        (vec![c(&[client::gssenc_request()]), s(&[b"G".to_vec()])], "encryption Gss"),
        (
            vec![c(&[client::gssenc_request()]), s(&[b"N".to_vec()]), c(&[client::ssl_request()]), s(&[b"S".to_vec()])],
            "encryption Tls",
        ),
        (
            vec![c(&[client::ssl_request()]), s(&[b"N".to_vec()]), c(&[client::gssenc_request()]), s(&[b"N".to_vec()])],
            "encryption Plaintext",
        ),
        // The answer was not seen (servers up to 16 send it past the content probe): nothing is claimed.
        (vec![c(&[client::ssl_request()])], ""),
        // Direct TLS: the server peeks at the ClientHello before it decrypts.
        (vec![c(&[vec![0x16, 3, 1, 0, 4, 1, 2, 3, 4]])], "encryption Tls"),
        // Ciphertext on both sides after the agreement, then the plaintext of the same session.
        (
            vec![
                c(&[client::ssl_request()]),
                s(&[b"S".to_vec()]),
                c(&[vec![0x16, 3, 1, 0, 2, 9, 9]]),
                s(&[vec![0x16, 3, 3, 0, 1, 9, 0x14, 3, 3, 0, 1, 1]]),
            ],
            "encryption Tls",
        ),
    ] {
        let pieces = [pieces, vec![c(&[client::startup("u", "d")])]].concat();
        check(FirstByte, &pieces, &format!("{expect}\n{end}"));
    }
}

#[test]
fn an_encryption_request_refused_with_an_error() {
    check(
        FirstByte,
        &[c(&[client::ssl_request()]), s(&[server::error("FATAL", "0A000", "no")])],
        "refused FATAL 0A000 no",
    );
}

#[test]
fn a_status_message_is_no_answer_to_an_encryption_request_once_the_startup_is_seen() {
    check(
        FirstByte,
        &[
            c(&[client::ssl_request()]),
            c(&[client::startup("u", "d")]),
            s(&[server::status("a", "b"), server::notice("n"), server::auth(0)]),
        ],
        "startup 3.0 user=u database=d
        status a=b
        authenticated",
    );
}

/// Request and start-up packet in one piece: newer servers refuse that, older ones go on in plaintext.
#[test]
fn an_encryption_request_whose_answer_is_not_waited_for() {
    for request in [client::ssl_request(), client::gssenc_request()] {
        for (answer, expect) in
            [(server::error("FATAL", "08P01", "no"), "refused FATAL 08P01 no"), (server::auth(0), "authenticated")]
        {
            check(
                FirstByte,
                &[c(&[request.clone(), client::startup("u", "d")]), s(&[b"N".to_vec(), answer])],
                &format!("startup 3.0 user=u database=d\nencryption Plaintext\n{expect}"),
            );
        }
    }
}

#[test]
fn authentication_methods_by_name() {
    let codes = [2, 3, 5, 6, 7, 8, 9, 10, 11, 12].map(server::auth);
    check(
        FirstByte,
        &[s(&codes)],
        "authentication kerberos_v5
        authentication cleartext_password
        authentication md5_password
        authentication scm_credential
        authentication gss
        authentication sspi
        authentication sasl",
    );
}

#[test]
fn cancel_requests_with_keys_of_any_length() {
    for key in [&[][..], b"1234", &[7; 32], &[7; 256]] {
        check(FirstByte, &[c(&[client::cancel(99, key)])], "cancel 99");
    }
}

#[test]
fn protocol_3_2_and_replication_are_parameters() {
    let body = [crate::support::cstr("replication"), crate::support::cstr("database"), vec![0]].concat();
    check(
        FirstByte,
        &[
            c(&[client::packet(0x0003_0002, &body)]),
            s(&[crate::support::message(b'v', &[0, 3, 0, 0, 0, 0, 0, 0]), server::auth(0)]),
        ],
        "encryption Plaintext
        startup 3.2 replication=database
        authenticated",
    );
}

#[test]
fn the_longest_startup_packet_that_a_server_accepts() {
    // 10,000 bytes and the length word; 8 + "user\0u\0" + "database\0d\0" + "filler\0...\0" + "\0".
    let filler = "x".repeat(10_004 - 8 - 7 - 11 - 8 - 1);
    let words = ["user", "u", "database", "d", "filler", &filler];
    let body = [words.map(crate::support::cstr).concat(), vec![0]].concat();
    let packet = client::packet(0x0003_0000, &body);
    assert_eq!(packet.len(), 10_004);
    let expect = format!("encryption Plaintext\nstartup 3.0 user=u database=d filler={filler}");
    check(FirstByte, &[c(&[packet])], &expect);
}

#[test]
fn a_refused_login_and_a_query_sent_with_it() {
    check(
        FirstByte,
        &[
            c(&[client::startup("u", "d"), client::query("SELECT 1")]),
            s(&[server::error("FATAL", "28P01", "password authentication failed")]),
        ],
        "encryption Plaintext
        startup 3.0 user=u database=d
        refused FATAL 28P01 password authentication failed
        simple 'SELECT 1' ?>? 1- [] Unanswered",
    );
}

#[test]
fn a_query_sent_with_the_startup_message_is_recorded() {
    check(
        FirstByte,
        &[
            c(&[client::startup("u", "d"), client::query("SELECT 1")]),
            s(&[server::auth(0), server::status("a", "b"), server::key(1), server::ready('I')]),
            s(&[server::row_description(), server::row("1"), server::complete("SELECT 1"), server::ready('I')]),
        ],
        "encryption Plaintext
        startup 3.0 user=u database=d
        authenticated
        status a=b
        pid 1
        simple 'SELECT 1' rows=1 I>I 1-3 [SELECT 1 =1]",
    );
}

#[test]
fn secrets_that_were_skipped_or_cut() {
    use model::wire::Side::{Client, Server};
    check(
        FirstByte,
        &[
            c(&[client::startup("u", "d")]),
            Piece::Bytes(Server, vec![b'R', 0, 0, 0, 12, 0, 0, 0, 5]),
            Piece::Skipped(Server, b'R', 4, 0),
            Piece::Skipped(Client, b'p', 40, 1),
            Piece::Bytes(Client, vec![b'p', 0, 0, 0, 14]),
            Piece::Skipped(Client, b'p', 10, 0),
            s(&[server::auth(0), server::ready('I')]),
            c(&[client::query("SELECT 1")]),
            s(&[server::complete("SELECT 0"), server::ready('I')]),
        ],
        "encryption Plaintext
        startup 3.0 user=u database=d
        authentication md5_password
        authenticated
        simple 'SELECT 1' I>I 8-9 [SELECT 0 =0]",
    );
}

#[test]
fn not_this_protocol() {
    let http = b"GET / HTTP/1.1\r\n\r\n".to_vec();
    check(FirstByte, &[c(&[http])], "violation Client the first packet is no opening packet");
    check(FirstByte, &[c(&[client::packet(0x0002_0000, &[])])], "violation Client unknown protocol version");
    check(FirstByte, &[c(&[vec![0, 0, 0, 7, 0, 3, 0, 0]])], "violation Client impossible message length");
    check(FirstByte, &[c(&[vec![0, 0, 0x27, 0x15, 0, 3, 0, 0]])], "violation Client impossible message length");
    check(FirstByte, &[s(&[b"Ecould not fork".to_vec()])], "violation Server impossible message length");
}

#[test]
fn a_session_joined_during_its_login() {
    check(
        MidStream,
        &[
            c(&[client::password("x")]),
            s(&[server::auth(0), server::key(5), server::ready('I')]),
            c(&[client::query("SELECT 1")]),
            s(&[server::complete("SELECT 1"), server::ready('I')]),
        ],
        "authenticated
        pid 5
        simple 'SELECT 1' I>I 3-4 [SELECT 1 =1]",
    );
}
