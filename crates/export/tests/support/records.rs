//! Records as they stand in the journal.

/// Two sessions.
pub(crate) const SESSIONS: [&str; 2] = ["00112233-44556677-1", "00112233-44556677-2"];

/// An id of a journal, a hash or key, a key's id: these tests prove nothing with them.
const I: &str = "00000000000000000000000000000000";
const H: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// A public key has to be one: RFC 8032, 7.1, test 1.
const P: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
const K: &str = "0000000000000000";

fn time(seq: u64) -> String {
    format!("2026-11-22T{:02}:{:02}:{:02}.000001Z", seq / 3600 % 24, seq / 60 % 60, seq % 60)
}

pub(crate) fn record(seq: u64, type_word: &str, fields: &str) -> String {
    let comma = if fields.is_empty() { "" } else { "," };
    format!(r#"{{"v":1,"seq":{seq},"time":"{}","type":"{type_word}"{comma}{fields}}}"#, time(seq))
}

pub(crate) fn statement(seq: u64, text: &str) -> String {
    let session = SESSIONS[usize::try_from(seq % 2).unwrap()];
    let text = serde_json::to_string(text).unwrap();
    let fields = format!(
        r#""session":"{session}","number":{seq},"kind":"simple","text":{text},"latency_us":1500,"outcomes":[{{"tag":"SELECT 1","rows":1}}],"rows_sent":1"#
    );
    record(seq, "statement", &fields)
}

pub(crate) fn statements(seqs: std::ops::RangeInclusive<u64>) -> impl Iterator<Item = String> {
    seqs.map(|seq| statement(seq, &format!("select {seq}")))
}

const PROCESS: &str = r#"{"pid":4242,"start_us":77,"name":"psql","exe":"/usr/bin/psql","exe_device":"254:1","exe_inode":99,"exe_changed":"2026-01-01T00:00:00.000000Z","argv":["psql","-h","localhost"],"uid":1000,"gid":1000,"login_uid":1000,"source":"kernel","ancestors":[{"pid":4000,"start_us":70,"uid":1000,"name":"bash"}]}"#;

const PRINCIPAL: &str = r#""principal":{"kind":"agent","id":"nightly-report","issuer":"https://id.example.com","acting_for":[{"kind":"person","id":"bob@example.com","issuer":"https://id.example.com"}],"proof":"token","purpose":"figures"}"#;

const REFUSED: &str = r#""verdict":{"decision":"refused","rule":"no-drop","what":"DROP of table public.t","reason":"nobody drops","epoch":7,"mode":"enforce"},"effects":[{"action":"drop","object":"relation","schema":"public","name":"t"}],"opaque":["code"]"#;

const ALLOWED: &str =
    r#""verdict":{"decision":"allowed","epoch":7,"mode":"enforce","allowed_by":["owners","readers"]}"#;

fn session(index: usize, authenticated: bool) -> String {
    let login = if authenticated {
        r#","user":"alice","database":"shop","application_name":"psql","protocol":"3.0""#
    } else {
        ""
    };
    let place = if index == 0 {
        r#""transport":"tcp","client_address":"192.0.2.7:40000","server_address":"192.0.2.1:5432""#
    } else {
        r#""transport":"unix","socket_path":"/run/postgresql/.s.PGSQL.5432""#
    };
    let principal = if index == 0 && authenticated { PRINCIPAL } else { r#""principal_unknown":"no_proof""# };
    format!(
        r#""session":"{}","database_entry":"main",{place},"origin":"opened","encryption":"tls","client":{PROCESS},{principal}{login},"authenticated":{authenticated},"statements":1,"errors":0,"gaps":0,"received_bytes":100,"sent_bytes":200,"content_received_bytes":100,"content_sent_bytes":200,"captured_bytes":50,"coverage":1.0"#,
        SESSIONS[index]
    )
}

/// At least one record of every type that there is, and every branch that a receiver's form has.
pub(crate) fn all_types() -> Vec<String> {
    let s = SESSIONS[0];
    let unknown_session = "00112233-44556677-9";
    let statement = |fields: &str| format!(r#""session":"{s}","number":1,"kind":"simple",{fields},"rows_sent":0"#);
    let failed = r#""text":"selec 1","outcomes":[{"severity":"ERROR","sqlstate":"42601","message":"syntax error"}]"#;
    let tags =
        ["SELECT 1", "INSERT 0 1", "UPDATE 3", "DELETE 2", "CREATE TABLE", "BEGIN", "FETCH 4", "MERGE 1", "COPY 7"];
    let mut records: Vec<(&str, String)> = vec![
        ("segment", format!(r#""journal":"{I}","chain":"{H}","public_key":"{H}","key":"{K}""#)),
        ("agent.start", r#""version":"0.1.0","level":"full","kernel":"6.1","host":"00112233445566778899aabbccddeeff","boot":"00112233445566778899aabbccddeeff""#.into()),
        ("gap", r#""from":"2026-11-22T00:00:00.000000Z","to":"2026-11-22T00:00:01.000000Z","reason":"agent_not_running""#.into()),
        ("session.open", session(0, false)),
        ("session.open", session(1, false)),
        ("session.change", session(0, true)),
        ("session.change", session(1, true)),
        ("session.change", session(1, true)),
        ("refused", format!(r#""session":"{s}","severity":"FATAL","sqlstate":"28P01","message":"password authentication failed""#)),
        ("refused", format!(r#""session":"{unknown_session}","severity":"FATAL","sqlstate":"53300","message":"too many clients""#)),
        ("request", format!(r#""session":"{s}","kind":"simple","text":"selec 1",{REFUSED}"#)),
        ("statement", statement(&format!("{failed},{REFUSED}"))),
        ("statement", statement(r#""text_unknown":"lost","ending":"lost""#)),
        ("statement", format!(r#""session":"{unknown_session}","number":2,"kind":"parse","text":"select $1","rows_sent":0"#)),
        ("statement", format!(r#""session":"{}","number":3,"kind":"execute","text":"select $1","text_bytes":100000,"parameters":[{{"value":"x"}}],"rows_sent":0,{ALLOWED}"#, SESSIONS[1])),
        ("cancel", format!(r#""session":"{s}","pid":5,"target":"{}""#, SESSIONS[1])),
        ("session.gap", format!(r#""session":"{s}","side":"client","gap_bytes":12,"reason":"ring_full""#)),
        ("process", format!(r#""session":"{s}","change":"exec","pid":4242,"process":{PROCESS}"#)),
        ("process", format!(r#""session":"{s}","change":"fork","pid":4243"#)),
        ("process", format!(r#""session":"{s}","change":"exit","pid":4242"#)),
        ("loss", r#""kind":"content","stage":"kernel","count":12"#.into()),
        ("operator", r#""verb":"scan","uid":0"#.into()),
        ("bypass", format!(r#"{},"class":"bypass","class_detail":"unix_socket","reason":"unix_socket""#, session(0, true))),
        ("bypass", format!(r#"{},"reason":"before_steering""#, session(0, true))),
        ("bypass.refused", format!(r#""database_entry":"main","server_address":"127.0.0.1:5432","client":{PROCESS}"#)),
        ("integrity", format!(r#""session":"{s}","figure":"bytes_to_server","proxy":90,"kernel":100,"when":"end""#)),
        ("coverage", r#""database_entry":"main","from":"2026-11-22T00:00:00.000000Z","to":"2026-11-22T00:01:00.000000Z","observed":{"sessions":1,"open":1,"bytes":9},"classes":[{"class":"bypass","detail":"unix_socket","sessions":1,"open":1,"bytes":9}]"#.into()),
        ("credential", r#""step":"orphan","role":"warder_s_0","group":"warder_read","database_entry":"main","end":"orphan","confirmation":"no_session","latency_us":9"#.into()),
        ("session.close", format!(r#"{},"duration_us":5000000"#, session(0, true))),
        ("checkpoint", format!(r#""journal":"{I}","segment":1,"chain":"{H}","root":"{H}","key":"{K}","signature":"00""#)),
        ("key.handover", format!(r#""journal":"{I}","from":"{K}","to":"{K}","public_key":"{P}","signature":"00""#)),
        ("segments.removed", format!(r#""through":1,"chain":"{H}","first":1,"records":1,"bytes":1,"reason":"age""#)),
        ("journal.recovered", r#""torn_bytes":7,"last_seq":1"#.into()),
        ("something.new", r#""field":1"#.into()),
        ("agent.stop", String::new()),
    ];
    for tag in tags {
        records.push(("statement", statement(&format!(r#""text":"x","outcomes":[{{"tag":"{tag}"}}]"#))));
    }
    records.iter().zip(1..).map(|((type_word, fields), seq)| record(seq, type_word, fields)).collect()
}
