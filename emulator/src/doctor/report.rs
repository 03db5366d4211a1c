//! What the doctor answers: a verdict, what was decoded, what was found.

use iothub_protocol::Error;
use serde_json::{Value, json};

/// The answer to a question.
#[derive(Clone, Debug)]
pub struct Report {
    /// What the text is.
    pub kind: &'static str,
    /// The credential itself, as the hub was asked about it.
    pub text: String,
    /// What the hub was asked.
    pub asked: String,
    /// What the hub says.
    pub verdict: Verdict,
    /// Its refusal, where it refuses.
    pub refusal: Option<Error>,
    /// The parts of the credential, each with its meaning.
    pub rows: Vec<Row>,
    /// What is right and what is wrong, the worst first.
    pub findings: Vec<Finding>,
    /// What is signed, and with what outcome.
    pub signed: Option<Signed>,
}

/// What the hub says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It lets the holder in.
    Accepted,
    /// It does not.
    Refused,
    /// The text alone is too little to be asked about.
    Undecided,
}

/// A part of a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its name, as the credential has it.
    pub name: String,
    /// How it stands there, if that is not its value.
    pub raw: Option<String>,
    /// What it says.
    pub value: String,
    /// What that means.
    pub meaning: String,
}

/// Something that is right or wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// A name for programs.
    pub code: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What is the case.
    pub what: String,
    /// Why that matters.
    pub why: String,
    /// What to do.
    pub mend: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The hub refuses for this reason.
    Error,
    /// It is taken here, though it is hardly what was meant.
    Warning,
    /// As it should be.
    Ok,
}

/// What is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The text.
    pub string_to_sign: String,
    /// The signature of the credential, in base64, where it can be read.
    pub received: Option<String>,
    /// Whose key made it.
    pub matched: Option<String>,
    /// Whose key would make which signature, in base64.
    pub expected: Vec<(String, String)>,
}

impl Report {
    /// Nothing is known yet.
    pub(super) fn new(kind: &'static str, text: &str) -> Self {
        Self {
            kind,
            text: text.to_owned(),
            asked: String::new(),
            verdict: Verdict::Undecided,
            refusal: None,
            rows: Vec::new(),
            findings: Vec::new(),
            signed: None,
        }
    }

    /// Notes what the hub was asked and said.
    pub(super) fn hear<T>(&mut self, asked: impl Into<String>, answer: Result<T, Error>) {
        self.asked = asked.into();
        match answer {
            Ok(_) => self.verdict = Verdict::Accepted,
            Err(refusal) => {
                self.verdict = Verdict::Refused;
                self.refusal = Some(refusal);
            }
        }
    }

    pub(super) fn row(&mut self, name: &str, value: impl Into<String>, meaning: impl Into<String>) {
        self.rows.push(Row {
            name: name.to_owned(),
            raw: None,
            value: value.into(),
            meaning: meaning.into(),
        });
    }

    pub(super) fn ok(&mut self, code: &'static str, what: impl Into<String>) {
        self.find(Level::Ok, code, what, "", "");
    }

    pub(super) fn warning(
        &mut self,
        code: &'static str,
        what: impl Into<String>,
        why: impl Into<String>,
        mend: impl Into<String>,
    ) {
        self.find(Level::Warning, code, what, why, mend);
    }

    pub(super) fn error(
        &mut self,
        code: &'static str,
        what: impl Into<String>,
        why: impl Into<String>,
        mend: impl Into<String>,
    ) {
        self.find(Level::Error, code, what, why, mend);
    }

    pub(super) fn find(
        &mut self,
        level: Level,
        code: &'static str,
        what: impl Into<String>,
        why: impl Into<String>,
        mend: impl Into<String>,
    ) {
        self.findings.push(Finding {
            code,
            level,
            what: what.into(),
            why: why.into(),
            mend: mend.into(),
        });
    }

    pub(super) fn has_error(&self) -> bool {
        self.findings
            .iter()
            .any(|finding| finding.level == Level::Error)
    }

    /// The worst first. The hub's word stands above every finding: a refusal that nothing explains
    /// is told in the hub's own words, and where the hub is content nothing is an error.
    pub(super) fn concluded(mut self) -> Self {
        let refusal = self.refusal.as_ref().map(|it| capitalised(it.message()));
        if let Some(what) = refusal.filter(|_| !self.has_error()) {
            self.error("refused", what, "The hub says so itself.", "");
        }
        if self.verdict == Verdict::Accepted {
            for finding in &mut self.findings {
                finding.level = finding.level.max(Level::Warning);
            }
        }
        self.findings.sort_by_key(|finding| finding.level);
        self
    }

    /// The answer as JSON.
    pub fn to_json(&self) -> Value {
        let rows: Vec<Value> = self.rows.iter().map(Row::to_json).collect();
        let findings: Vec<Value> = self.findings.iter().map(Finding::to_json).collect();
        let refusal = self.refusal.as_ref().map(|refusal| {
            json!({
                "code": refusal.code.name(),
                "number": refusal.code.number(),
                "detail": refusal.message(),
            })
        });
        let signed = self.signed.as_ref().map(|signed| {
            let expected: Vec<Value> = signed
                .expected
                .iter()
                .map(|(key, signature)| json!({"key": key, "signature": signature}))
                .collect();
            json!({
                "string_to_sign": signed.string_to_sign,
                "signature": signed.received,
                "made_with": signed.matched,
                "expected": expected,
            })
        });
        json!({
            "kind": self.kind,
            "verdict": self.verdict.name(),
            "asked": self.asked,
            "refusal": refusal,
            "findings": findings,
            "decoded": rows,
            "signed": signed,
            "text": self.text,
        })
    }
}

impl Row {
    fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "raw": self.raw,
            "value": self.value,
            "meaning": self.meaning,
        })
    }
}

impl Finding {
    fn to_json(&self) -> Value {
        json!({
            "level": self.level.name(),
            "code": self.code,
            "what": self.what,
            "why": self.why,
            "mend": self.mend,
        })
    }
}

impl Verdict {
    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Undecided => "undecided",
        }
    }
}

impl Level {
    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Ok => "ok",
        }
    }
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).chain(['.']).collect(),
        None => "The hub refuses.".to_owned(),
    }
}
