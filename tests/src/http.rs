//! One HTTP GET, for the metrics endpoint.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// Body of `http://127.0.0.1:PORT/PATH`.
///
/// # Errors
/// When nobody answers with 200.
pub fn get(port: u16, path: &str) -> Result<String> {
    let mut stream =
        TcpStream::connect(("127.0.0.1", port)).with_context(|| format!("nobody listens on port {port}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    ensure!(head.starts_with("HTTP/1.1 200"), "GET {path}: {}", head.lines().next().unwrap_or_default());
    Ok(body.to_owned())
}

/// Value of a metric, summed over its series that have all of `labels` (each `name="value"`); absent is `None`.
#[must_use]
pub fn metric(exposition: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let values = exposition.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let (series, value) = rest.rsplit_once(' ')?;
        let ours = series.is_empty() || series.starts_with('{');
        (ours && labels.iter().all(|label| series.contains(label))).then(|| value.parse::<f64>().ok())?
    });
    values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_the_sum_of_its_matching_series() {
        let text =
            "# TYPE a counter\na{kind=\"x\",stage=\"k\"} 2\na{kind=\"x\",stage=\"c\"} 3\na{kind=\"y\"} 5\nab 7\n";
        assert_eq!(metric(text, "a", &["kind=\"x\""]), Some(5.0));
        assert_eq!(metric(text, "ab", &[]), Some(7.0));
        assert_eq!(metric(text, "b", &[]), None);
    }
}
