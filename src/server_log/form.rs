//! The forms of a log line: Redis's own, and those of Valkey for machines.

use crate::config::{LogForm, LogFormat, LogLevel, LogTimestamp};
use crate::process::{self, LocalTime};

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// One line of the log; `now_ms` is shown in local time.
pub fn line(
    form: LogForm,
    pid: u32,
    role: char,
    now_ms: i64,
    level: LogLevel,
    text: &str,
) -> String {
    let time = time(form.timestamp, now_ms);
    let (mark, word) = match level {
        LogLevel::Debug => ('.', "debug"),
        LogLevel::Verbose => ('-', "info"),
        LogLevel::Notice => ('*', "notice"),
        LogLevel::Warning | LogLevel::Nothing => ('#', "warning"),
    };
    let part = if role == 'S' { "replica" } else { "primary" };
    match form.format {
        LogFormat::Legacy => format!("{pid}:{role} {time} {mark} {text}\n"),
        LogFormat::Logfmt => {
            // Valkey: what would end the value or the line is replaced, not escaped.
            let text = text.replace('"', "'").replace(['\n', '\r'], " ");
            format!("pid={pid} role={part} timestamp=\"{time}\" level={word} message=\"{text}\"\n")
        }
        LogFormat::Json => {
            let text = serde_json::Value::from(text);
            format!(
                "{{\"pid\":{pid},\"role\":\"{part}\",\"timestamp\":\"{time}\",\
                 \"level\":\"{word}\",\"message\":{text}}}\n"
            )
        }
    }
}

fn time(form: LogTimestamp, now_ms: i64) -> String {
    let ms = now_ms.rem_euclid(1000);
    let at = process::local_time(now_ms.div_euclid(1000));
    let LocalTime { year, day, hour, minute, second, east_s, .. } = at;
    match form {
        LogTimestamp::Legacy => {
            let month = MONTHS.get(usize::from(at.month0)).copied().unwrap_or("Jan");
            format!("{day:02} {month} {year} {hour:02}:{minute:02}:{second:02}.{ms:03}")
        }
        LogTimestamp::Iso8601 => {
            let (month, sign) = (at.month0 + 1, if east_s < 0 { '-' } else { '+' });
            let (east_h, east_m) = (east_s.abs() / 3600, east_s.abs() / 60 % 60);
            format!(
                "{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}\
                 {sign}{east_h:02}:{east_m:02}"
            )
        }
        LogTimestamp::Milliseconds => now_ms.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 17 September 2001 in the middle of the day of every zone.
    const THEN_MS: i64 = 1_000_728_000_123;

    #[test]
    fn lines_have_redis_form() {
        let text = line(
            LogForm::default(),
            7,
            'M',
            THEN_MS,
            LogLevel::Notice,
            "Ready to accept connections tcp",
        );
        let (head, rest) = text.split_at("7:M 17 Sep 2001 ".len());
        assert_eq!(head, "7:M 17 Sep 2001 ");
        let (time, rest) = rest.split_at("12:00:00.123".len());
        let digits = |at: usize| time.as_bytes()[at].is_ascii_digit();
        assert!([0, 1, 3, 4, 6, 7, 9, 10, 11].into_iter().all(digits), "{time}");
        assert!(time.ends_with(".123"));
        assert_eq!(rest, " * Ready to accept connections tcp\n");
        let marks = [LogLevel::Debug, LogLevel::Verbose, LogLevel::Warning].map(|level| {
            line(LogForm::default(), 1, 'C', THEN_MS, level, "x").trim_end().chars().nth_back(2)
        });
        assert_eq!(marks, [Some('.'), Some('-'), Some('#')]);
    }

    #[test]
    fn lines_for_machines_have_valkeys_form() {
        let form = |format| LogForm { format, timestamp: LogTimestamp::Milliseconds };
        let told = "DEBUG LOG: a\"b\\c\nd";
        let text = line(form(LogFormat::Logfmt), 7, 'M', THEN_MS, LogLevel::Warning, told);
        let expected = "pid=7 role=primary timestamp=\"1000728000123\" level=warning \
                        message=\"DEBUG LOG: a'b\\c d\"\n";
        assert_eq!(text, expected);
        let text = line(form(LogFormat::Json), 7, 'S', THEN_MS, LogLevel::Verbose, told);
        let read: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let expected = serde_json::json!({
            "pid": 7, "role": "replica", "timestamp": "1000728000123", "level": "info",
            "message": told,
        });
        assert_eq!(read, expected);
        let form = LogForm { format: LogFormat::Legacy, timestamp: LogTimestamp::Iso8601 };
        let text = line(form, 7, 'M', THEN_MS, LogLevel::Notice, "x");
        assert!(text.starts_with("7:M 2001-09-17T") && text.contains(".123+"), "{text}");
    }
}
