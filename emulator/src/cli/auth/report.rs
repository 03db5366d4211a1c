//! The doctor's answer, for a person at a terminal.

use std::fmt::Write as _;

use serde_json::Value;

/// The answer as lines of text.
pub(super) fn text(report: &Value, colours: bool) -> String {
    let mut page = Page {
        text: String::new(),
        colours,
    };
    let verdict = report["verdict"].as_str().unwrap_or_default();
    let (mark, colour) = match verdict {
        "accepted" => ("✓", GREEN),
        "refused" => ("✗", RED),
        _ => ("?", YELLOW),
    };
    let asked = report["asked"].as_str().unwrap_or_default();
    let title = page.painted(&format!("{mark} {verdict}"), colour);
    page.line(&match asked {
        "" => title,
        asked => format!("{title}  (the hub was asked {asked})"),
    });
    page.findings(&report["findings"]);
    page.decoded(&report["decoded"]);
    page.signed(&report["signed"]);
    page.text
}

struct Page {
    text: String,
    colours: bool,
}

impl Page {
    fn findings(&mut self, findings: &Value) {
        for finding in items(findings) {
            let member = |name: &str| finding[name].as_str().unwrap_or_default();
            let (mark, colour) = match member("level") {
                "error" => ("✗", RED),
                "warning" => ("!", YELLOW),
                _ => ("✓", GREEN),
            };
            self.line("");
            let mark = self.painted(mark, colour);
            self.wrapped(&format!("{mark} "), "  ", member("what"));
            if !member("why").is_empty() {
                self.wrapped("  ", "  ", member("why"));
            }
            if !member("mend").is_empty() {
                self.wrapped("  → ", "    ", member("mend"));
            }
        }
    }

    fn decoded(&mut self, rows: &Value) {
        let rows = items(rows);
        if rows.is_empty() {
            return;
        }
        let member = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let width = rows
            .iter()
            .map(|row| member(row, "name").chars().count())
            .max()
            .unwrap_or_default();
        self.heading("What it says");
        for row in rows {
            let (name, raw) = (member(row, "name"), member(row, "raw"));
            self.line(&format!("  {name:<width$}  {}", member(row, "value")));
            if !raw.is_empty() {
                let line = format!("  {:<width$}  as {raw}", "");
                self.dimmed(&line);
            }
            let line = format!("  {:<width$}  {}", "", member(row, "meaning"));
            self.dimmed(&line);
        }
    }

    fn signed(&mut self, signed: &Value) {
        let Some(string) = signed["string_to_sign"].as_str() else {
            return;
        };
        self.heading("What is signed (⏎ is one line feed)");
        self.line(&format!("  {}", string.replace('\n', "⏎\n  ")));
        self.heading("Signatures");
        let mut rows = Vec::new();
        if let Some(signature) = signed["signature"].as_str() {
            let whose = match signed["made_with"].as_str() {
                Some(key) => format!("in the token, by the {key}"),
                None => "in the token".to_owned(),
            };
            rows.push((whose, signature));
        }
        for expected in items(&signed["expected"]) {
            let member = |name: &str| expected[name].as_str().unwrap_or_default();
            rows.push((format!("by the {}", member("key")), member("signature")));
        }
        for (whose, signature) in rows {
            self.line(&format!("  {signature}  {whose}"));
        }
    }

    fn heading(&mut self, text: &str) {
        self.line("");
        let text = self.painted(text, BOLD);
        self.line(&text);
    }

    fn dimmed(&mut self, text: &str) {
        let text = self.painted(text, DIM);
        self.line(&text);
    }

    fn line(&mut self, text: &str) {
        // Writing into a string does not fail.
        let _ = writeln!(self.text, "{text}");
    }

    /// Words in lines of a width that people read.
    fn wrapped(&mut self, first: &str, next: &str, words: &str) {
        let mut line = first.to_owned();
        let mut length = next.chars().count();
        let mut is_empty = true;
        for word in words.split_whitespace() {
            let more = word.chars().count() + 1;
            if !is_empty && length + more > WIDTH {
                self.line(line.trim_end());
                next.clone_into(&mut line);
                length = next.chars().count();
            }
            line.push_str(word);
            line.push(' ');
            length += more;
            is_empty = false;
        }
        self.line(line.trim_end());
    }

    fn painted(&self, text: &str, colour: &str) -> String {
        match self.colours {
            true => format!("\u{1b}[{colour}m{text}\u{1b}[0m"),
            false => text.to_owned(),
        }
    }
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

const WIDTH: usize = 88;
const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const BOLD: &str = "1";
const DIM: &str = "2";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_report_is_readable_lines() {
        let report = json!({
            "verdict": "refused",
            "asked": "to let device d1 in",
            "findings": [
                {"level": "error", "what": "It expired.", "why": "By the clock.", "mend": "Anew."},
                {"level": "ok", "what": "Signed.", "why": "", "mend": ""},
            ],
            "decoded": [
                {"name": "sr", "raw": "a%2Fb", "value": "a/b", "meaning": "what for"},
                {"name": "se", "raw": null, "value": "1", "meaning": "until"},
            ],
            "signed": {
                "string_to_sign": "a%2Fb\n1", "signature": "AA=", "made_with": null,
                "expected": [{"key": "primary key of device d1", "signature": "BB="}],
            },
        });

        let wanted = "\
✗ refused  (the hub was asked to let device d1 in)

✗ It expired.
  By the clock.
  → Anew.

✓ Signed.

What it says
  sr  a/b
      as a%2Fb
      what for
  se  1
      until

What is signed (⏎ is one line feed)
  a%2Fb⏎
  1

Signatures
  AA=  in the token
  BB=  by the primary key of device d1
";
        assert_eq!(text(&report, false), wanted);
        assert!(text(&report, true).contains("\u{1b}[31m✗ refused"));
    }

    #[test]
    fn long_texts_are_wrapped() {
        let words = "word ".repeat(40);
        let report = json!({"findings": [{"level": "error", "what": words}]});

        let text = text(&report, false);

        assert!(text.lines().count() > 3);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH + 2));
    }
}
