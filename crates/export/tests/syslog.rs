//! A real syslog server (rsyslog, from the distribution) takes what is sent over TCP, TLS and UDP; a socket stands for
//! the local one.
#![allow(clippy::unwrap_used, clippy::panic, clippy::allow_attributes, reason = "helpers of tests")]

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};

use export::config::{ExportConfig, Kind};
use export::metrics::Metrics;
use serde_json::Value;
use support::authority::Authority;
use support::records::{record, statement, statements};
use support::{Journal, json_lines, sample, seq, start, wait_for};

/// A syslog server of our own: own folder, own port on loopback, never the system's.
struct Server {
    folder: tempfile::TempDir,
    child: Option<Child>,
}

/// One message in the server's words.
const TEMPLATE: &str = r#"
template(name="parts" type="list" option.jsonf="on") {
  property(outname="pri" name="pri" format="jsonf")
  property(outname="version" name="protocol-version" format="jsonf")
  property(outname="time" name="timereported" dateFormat="rfc3339" format="jsonf")
  property(outname="host" name="hostname" format="jsonf")
  property(outname="app" name="app-name" format="jsonf")
  property(outname="process" name="procid" format="jsonf")
  property(outname="id" name="msgid" format="jsonf")
  property(outname="data" name="structured-data" format="jsonf")
  property(outname="message" name="msg" format="jsonf")
}"#;

impl Server {
    /// `input` is the configuration of the module and input; `{}` in it is the folder.
    fn start(globals: &str, input: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display();
        let config = format!(
            "global(workDirectory=\"{path}\" maxMessageSize=\"256k\" net.enableDNS=\"off\" {})\n{TEMPLATE}\n{}\n\
             ruleset(name=\"out\") {{ action(type=\"omfile\" file=\"{path}/messages\" template=\"parts\") }}\n",
            globals.replace("{}", &path.to_string()),
            input.replace("{}", &path.to_string()),
        );
        fs::write(folder.path().join("rsyslog.conf"), config).unwrap();
        let mut server = Self { folder, child: None };
        server.run();
        server
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&mut self) {
        let child = Command::new("/usr/sbin/rsyslogd")
            .arg("-n")
            .args(["-f".as_ref(), self.path("rsyslog.conf").as_path(), "-i".as_ref(), self.path("pid").as_path()])
            .spawn();
        self.child = Some(child.expect("rsyslogd runs (packages rsyslog and rsyslog-openssl)"));
    }

    /// Its port, once it listens.
    fn port(&self) -> u16 {
        wait_for("the server's port", || fs::read_to_string(self.path("port")).ok()?.trim().parse().ok())
    }

    /// Ends it as its administrator would: it writes what it has read.
    fn terminate(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        child.wait().unwrap();
    }

    fn messages(&self) -> Vec<Value> {
        let text = fs::read(self.path("messages")).unwrap_or_default();
        // The last line may be half written.
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        json_lines(&text[..whole])
    }

    /// The records within the messages.
    fn records(&self) -> Vec<Value> {
        self.messages()
            .iter()
            .map(|message| serde_json::from_str(message["message"].as_str().unwrap()).unwrap())
            .collect()
    }

    fn wait_for_seq(&self, last: u64) {
        wait_for("all records", || self.records().iter().any(|record| seq(record) == Some(last)).then_some(()));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // The test has failed; nothing depends on a clean end.
            let _ended = child.kill().and_then(|()| child.wait());
        }
    }
}

const TCP: &str = r#"module(load="imtcp")
input(type="imtcp" port="0" address="127.0.0.1" listenPortFileName="{}/port" ruleset="out")"#;

fn config(syslog: String) -> ExportConfig {
    ExportConfig {
        syslog: Some(syslog),
        timeout_seconds: Some(5),
        retry_seconds_max: Some(1),
        ..ExportConfig::new("siem", Kind::Syslog)
    }
}

#[test]
fn a_server_reads_all_parts_of_a_message() {
    let mut server = Server::start("", TCP);
    let journal = Journal::new();
    let failing = record(
        2,
        "statement",
        r#""session":"00112233-44556677-1","number":1,"kind":"simple","text":"x","outcomes":[{"sqlstate":"42601"}],"rows_sent":0"#,
    );
    let text = "select 'é ] \\ \" \n 12345 <14>1 - - - - - -'";
    journal.append([
        statement(1, text),
        failing,
        record(3, "gap", r#""from":"2026-11-22T00:00:00.000000Z","to":"2026-11-22T00:00:01.000000Z","reason":"x""#),
    ]);
    let config =
        ExportConfig { facility: Some("local3".into()), ..config(format!("tcp://127.0.0.1:{}", server.port())) };
    start(&config, &journal, &Metrics::new("0")).stop();
    server.wait_for_seq(3);
    server.terminate();
    let messages = server.messages();
    assert_eq!(messages.len(), 3);
    let expected = [
        ("pri", "158"),
        ("version", "1"),
        ("time", "2026-11-22T00:00:01.000001Z"),
        ("host", "db1"),
        ("app", "warder"),
        ("id", "statement"),
        ("data", r#"[origin software="warder" swVersion="0.1.0"][meta sequenceId="1"]"#),
    ];
    for (key, value) in expected {
        assert_eq!(messages[0][key], value, "{key}");
    }
    assert_eq!(messages[0]["process"], std::process::id().to_string());
    assert_eq!(messages[0]["message"].as_str().unwrap().trim_start(), statement(1, text));
    assert_eq!((&messages[1]["pri"], &messages[2]["pri"]), (&"156".into(), &"155".into()));
}

#[test]
fn a_server_that_restarts_misses_nothing() {
    const RECORDS: u64 = 4_000;
    let mut server = Server::start("", TCP);
    let port = server.port();
    // The next run takes the same port.
    let file = server.path("rsyslog.conf");
    let text = fs::read_to_string(&file).unwrap().replace("port=\"0\"", &format!("port=\"{port}\""));
    fs::write(&file, text).unwrap();
    let journal = Journal::new();
    journal.append(statements(1..=RECORDS));
    let config = ExportConfig { batch_records_max: Some(20), ..config(format!("tcp://127.0.0.1:{port}")) };
    let metrics = Metrics::new("0");
    let handle = start(&config, &journal, &metrics);
    for round in 1..=3 {
        server.wait_for_seq(round * RECORDS / 5);
        server.terminate();
        server.run();
    }
    server.wait_for_seq(RECORDS);
    handle.stop();
    server.terminate();
    let seqs: Vec<u64> = server.records().iter().filter_map(seq).collect();
    let mut next = 1;
    for seq in &seqs {
        assert!(*seq <= next, "{seq} came, {next} is missing");
        next = next.max(seq + 1);
    }
    assert_eq!(next, RECORDS + 1);
    assert!((seqs.len() as u64) < RECORDS + 20 * 3 * 2, "{} messages", seqs.len());
    assert_eq!(sample(&metrics, r#"warder_export_delivered_total{export="siem"}"#), RECORDS as f64);
}

#[test]
fn over_tls_both_sides_show_a_certificate() {
    let files = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours");
    let ca = authority.write(files.path());
    let (certificate, key) = authority.sign(files.path(), "localhost");
    let globals = format!(
        "defaultNetstreamDriver=\"ossl\" defaultNetstreamDriverCAFile=\"{}\" \
         defaultNetstreamDriverCertFile=\"{}\" defaultNetstreamDriverKeyFile=\"{}\"",
        ca.display(),
        certificate.display(),
        key.display()
    );
    let input = r#"module(load="imtcp" streamDriver.name="ossl" streamDriver.mode="1" streamDriver.authMode="x509/certvalid")
input(type="imtcp" port="0" address="127.0.0.1" listenPortFileName="{}/port" ruleset="out")"#;
    let mut server = Server::start(&globals, input);
    let address = format!("tls://localhost:{}", server.port());
    let journal = Journal::new();
    journal.append(statements(1..=250));
    let metrics = Metrics::new("0");
    let failed = |reason: &str| {
        let name = format!(r#"warder_export_failed_attempts_total{{export="siem",reason="{reason}"}}"#);
        sample(&metrics, &name)
    };

    // A server that nobody vouches for, and one that does not let us in: nothing is sent, nothing is skipped.
    let stranger = tempfile::tempdir().unwrap();
    let strange = Authority::new("another");
    let strange_ca = strange.write(stranger.path());
    let handle = start(&ExportConfig { ca_file: Some(strange_ca), ..config(address.clone()) }, &journal, &metrics);
    wait_for("the refusal", || (failed("tls") > 0.0).then_some(()));
    handle.stop();
    let before = failed("tls") + failed("broken");
    let handle = start(&ExportConfig { ca_file: Some(ca.clone()), ..config(address.clone()) }, &journal, &metrics);
    wait_for("the other refusal", || (failed("tls") + failed("broken") > before).then_some(()));
    handle.stop();
    assert_eq!(server.messages(), [Value::Null; 0]);
    assert_eq!(sample(&metrics, r#"warder_export_delivered_total{export="siem"}"#), 0.0);

    let (own, own_key) = authority.sign(files.path(), "warder");
    let config = ExportConfig {
        ca_file: Some(ca),
        certificate_file: Some(own),
        key_file: Some(own_key),
        batch_records_max: Some(100),
        ..config(address)
    };
    let handle = start(&config, &journal, &metrics);
    server.wait_for_seq(250);
    wait_for("the receipt", || {
        (sample(&metrics, r#"warder_export_delivered_total{export="siem"}"#) == 250.0).then_some(())
    });
    handle.stop();
    server.terminate();
    let seqs: Vec<u64> = server.records().iter().filter_map(seq).collect();
    assert_eq!(seqs, (1..=250).collect::<Vec<_>>());
}

#[test]
fn ocsf_events_go_over_syslog_as_well() {
    let mut server = Server::start("", TCP);
    let journal = Journal::new();
    journal.append(statements(1..=2));
    let config = ExportConfig { kind: Kind::Ocsf, ..config(format!("tcp://127.0.0.1:{}", server.port())) };
    start(&config, &journal, &Metrics::new("0")).stop();
    let events = wait_for("two events", || Some(server.records()).filter(|events| events.len() == 2));
    server.terminate();
    assert!(events.iter().all(|event| event["class_uid"] == 6005), "{events:?}");
}

#[test]
fn datagrams_go_over_udp_and_to_a_local_socket() {
    let journal = Journal::new();
    let huge = statement(2, &"x".repeat(70_000));
    journal.append([statement(1, "select 1"), huge, statement(3, "select 3")]);
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let path = journal.path().join("log");
    let unix = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    let addresses = [format!("udp://{}", udp.local_addr().unwrap()), format!("unix://{}", path.display())];
    for (index, address) in addresses.into_iter().enumerate() {
        let metrics = Metrics::new("0");
        let config = ExportConfig { name: format!("datagrams{index}"), refusals_max: Some(1), ..config(address) };
        let handle = start(&config, &journal, &metrics);
        let mut buffer = vec![0; 65_536];
        let mut receive = || {
            let length = if index == 0 { udp.recv(&mut buffer) } else { unix.recv(&mut buffer) }.unwrap();
            String::from_utf8(buffer[..length].to_vec()).unwrap()
        };
        assert!(receive().ends_with(&statement(1, "select 1")));
        assert!(receive().ends_with(&statement(3, "select 3")));
        // What no datagram can carry is told.
        assert!(receive().contains(r#""reason":"refused","first":2,"last":2"#));
        handle.stop();
        let name = format!(r#"warder_export_lost_total{{export="datagrams{index}",reason="refused"}}"#);
        assert_eq!(sample(&metrics, &name), 1.0);
    }
}

#[test]
fn a_receiver_that_closes_without_reading_has_taken_nothing() {
    use std::io::Read as _;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let journal = Journal::new();
    journal.append(statements(1..=500));
    let metrics = Metrics::new("0");
    let handle = start(&config(format!("tcp://{address}")), &journal, &metrics);
    // It closes at once; it closes in the middle of a message; it reads everything.
    for read in [0, 0, 0, 100, 1_000, usize::MAX] {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = vec![0; read.min(1_000)];
        stream.read_exact(&mut bytes).unwrap();
        if read == usize::MAX {
            stream.read_to_end(&mut bytes).unwrap();
            let text = String::from_utf8(bytes).unwrap();
            assert!((1..=500).all(|seq| text.contains(&statement(seq, &format!("select {seq}")))));
            continue;
        }
        assert_eq!(sample(&metrics, r#"warder_export_delivered_total{export="siem"}"#), 0.0);
    }
    wait_for("the receipt", || {
        (sample(&metrics, r#"warder_export_delivered_total{export="siem"}"#) == 500.0).then_some(())
    });
    handle.stop();
}
