//! Points in time, and the clock that tells them.

use std::fmt;
use std::future::Future;
use std::ops::{Add, Sub};
use std::pin::Pin;
use std::time::Duration;

/// A point in time, in 100 ns ticks since 1970-01-01T00:00:00Z: the resolution of the seven
/// fractional digits that the hub prints (`spec/service.md` 0.5). Arithmetic saturates.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// Tells the time, and when a time has come. The only source of time in the workspace.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;

    /// Completes once `now() >= deadline`.
    fn sleep_until(&self, deadline: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

const TICKS_PER_SECOND: i64 = 10_000_000;
const TICKS_PER_MILLI: i64 = 10_000;
const SECONDS_PER_DAY: i64 = 86_400;

impl Timestamp {
    /// 0001-01-01T00:00:00Z, which the hub prints for "never".
    pub const NEVER: Self = Self(-621_355_968_000_000_000);
    /// 1970-01-01T00:00:00Z.
    pub const UNIX_EPOCH: Self = Self(0);
    /// Later than every time that is written down.
    pub const MAX: Self = Self(i64::MAX);

    /// From ticks of 100 ns since 1970.
    pub const fn from_ticks(ticks: i64) -> Self {
        Self(ticks)
    }

    /// Ticks of 100 ns since 1970.
    pub const fn ticks(self) -> i64 {
        self.0
    }

    /// From milliseconds since 1970 (saturating).
    pub const fn from_unix_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(TICKS_PER_MILLI))
    }

    /// Milliseconds since 1970, rounded down.
    pub const fn unix_millis(self) -> i64 {
        self.0.div_euclid(TICKS_PER_MILLI)
    }

    /// From seconds since 1970 (saturating).
    pub const fn from_unix_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(TICKS_PER_SECOND))
    }

    /// Seconds since 1970, rounded down.
    pub const fn unix_seconds(self) -> i64 {
        self.0.div_euclid(TICKS_PER_SECOND)
    }

    /// Ticks of 100 ns since the year 1, as generation ids are made of.
    pub const fn dotnet_ticks(self) -> i64 {
        self.0.saturating_sub(Self::NEVER.0)
    }

    /// How long after `earlier`; zero if it is not.
    pub fn since(self, earlier: Self) -> Duration {
        let ticks = i128::from(self.0) - i128::from(earlier.0);
        let ticks = u64::try_from(ticks.max(0)).unwrap_or(u64::MAX);
        let per_second = TICKS_PER_SECOND.unsigned_abs();
        Duration::new(ticks / per_second, (ticks % per_second) as u32 * 100)
    }

    /// ISO 8601 with seven fractional digits and `Z`; `0001-01-01T00:00:00Z` for [`Self::NEVER`].
    pub fn to_iso(self) -> String {
        if self == Self::NEVER {
            return "0001-01-01T00:00:00Z".into();
        }
        let civil = Civil::of(self);
        let mut text = String::with_capacity(28);
        civil.push_date_and_time(&mut text);
        text.push('.');
        push_digits(&mut text, civil.fraction, 7);
        text.push('Z');
        text
    }

    /// As [`Self::to_iso`], but `0001-01-01T00:00:00` (no `Z`) for [`Self::NEVER`], as identities
    /// spell it (`spec/service.md` 0.5).
    pub fn to_identity_iso(self) -> String {
        if self == Self::NEVER {
            "0001-01-01T00:00:00".into()
        } else {
            self.to_iso()
        }
    }

    /// ISO 8601 to the second, with `Z`, as storage signatures and blobs' lists spell it.
    pub fn to_iso_seconds(self) -> String {
        let mut text = String::with_capacity(20);
        Civil::of(self).push_date_and_time(&mut text);
        text.push('Z');
        text
    }

    /// `Thu, 14 Mar 2024 09:54:49 GMT`, as in headers of the kind of `Last-Modified`.
    pub fn to_rfc1123(self) -> String {
        // The first of January 1970 was a Thursday.
        const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
        const MONTHS: [&str; 12] = [
            "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
        ];
        let days = self.unix_seconds().div_euclid(SECONDS_PER_DAY);
        let weekday = DAYS[days.rem_euclid(7) as usize];
        let Civil {
            year,
            month,
            day,
            hour,
            minute,
            second,
            ..
        } = Civil::of(self);
        let month = MONTHS[(month - 1).rem_euclid(12) as usize];
        format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
    }

    /// `MM/DD/YYYY HH:MM:SS`, as in tracking ids (`spec/service.md` 0.6).
    pub fn to_tracking(self) -> String {
        let Civil {
            year,
            month,
            day,
            hour,
            minute,
            second,
            ..
        } = Civil::of(self);
        format!("{month:02}/{day:02}/{year:04} {hour:02}:{minute:02}:{second:02}")
    }

    /// `M/d/yyyy h:mm:ss AM`, the general form of .NET, as headers of messages spell times
    /// (`spec/device.md` 9.3, Q16).
    pub fn to_general(self) -> String {
        let Civil {
            year,
            month,
            day,
            hour,
            minute,
            second,
            ..
        } = Civil::of(self);
        let half = if hour < 12 { "AM" } else { "PM" };
        let hour = match hour % 12 {
            0 => 12,
            hour => hour,
        };
        format!("{month}/{day}/{year} {hour}:{minute:02}:{second:02} {half}")
    }

    /// Parses ISO 8601: seconds and any number of fractional digits are optional (what is finer
    /// than a tick is cut off), then `Z` or an offset, or neither, which means UTC.
    pub fn parse_iso(text: &str) -> Option<Self> {
        let mut rest = Digits(text.as_bytes());
        let year = rest.number(4)?;
        rest.expect(b"-")?;
        let month = rest.number(2)?;
        rest.expect(b"-")?;
        let day = rest.number(2)?;
        rest.expect(b"Tt ")?;
        let hour = rest.number(2)?;
        rest.expect(b":")?;
        let minute = rest.number(2)?;
        let second = if rest.expect(b":").is_some() {
            rest.number(2)?
        } else {
            0
        };
        let fraction = if rest.expect(b".,").is_some() {
            rest.fraction()?
        } else {
            0
        };
        let offset_minutes = rest.offset()?;
        let in_range = year >= 1
            && (1..=12).contains(&month)
            && (1..=days_in_month(year, month)).contains(&day)
            && hour < 24
            && minute < 60
            && second < 60;
        if !in_range || !rest.0.is_empty() {
            return None;
        }

        let minutes = hour * 60 + minute - offset_minutes;
        let seconds = days_from_civil(year, month, day) * SECONDS_PER_DAY + minutes * 60 + second;
        Some(Self(seconds * TICKS_PER_SECOND + fraction))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(ticks_of(span)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(ticks_of(span)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_iso())
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_iso())
    }
}

fn ticks_of(span: Duration) -> i64 {
    i64::try_from(span.as_nanos() / 100).unwrap_or(i64::MAX)
}

/// A point in time on the proleptic Gregorian calendar.
struct Civil {
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    /// Ticks within the second.
    fraction: i64,
}

impl Civil {
    fn of(time: Timestamp) -> Self {
        let seconds = time.unix_seconds();
        let of_day = seconds.rem_euclid(SECONDS_PER_DAY);
        let (year, month, day) = civil_from_days(seconds.div_euclid(SECONDS_PER_DAY));
        Self {
            year,
            month,
            day,
            hour: of_day / 3600,
            minute: of_day / 60 % 60,
            second: of_day % 60,
            fraction: time.0.rem_euclid(TICKS_PER_SECOND),
        }
    }

    /// `YYYY-MM-DDTHH:MM:SS`.
    fn push_date_and_time(&self, text: &mut String) {
        push_digits(text, self.year, 4);
        for (separator, value) in [
            ('-', self.month),
            ('-', self.day),
            ('T', self.hour),
            (':', self.minute),
            (':', self.second),
        ] {
            text.push(separator);
            push_digits(text, value, 2);
        }
    }
}

fn push_digits(text: &mut String, value: i64, width: u32) {
    if value < 0 || value >= 10_i64.pow(width) {
        // A year beyond four digits: no document has one, yet it must not be printed wrongly.
        text.push_str(&value.to_string());
        return;
    }
    for place in (0..width).rev() {
        let digit = value / 10_i64.pow(place) % 10;
        text.push(char::from(b'0' + digit as u8));
    }
}

// Days and dates after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms": the year
// begins in March, so that the leap day is its last, and 400 years have 146,097 days.

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// What is left of a text of digits and separators.
struct Digits<'a>(&'a [u8]);

impl Digits<'_> {
    fn number(&mut self, width: usize) -> Option<i64> {
        let (digits, rest) = self.0.split_at_checked(width)?;
        if !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        self.0 = rest;
        Some(
            digits
                .iter()
                .fold(0, |value, digit| value * 10 + i64::from(digit - b'0')),
        )
    }

    fn expect(&mut self, any_of: &[u8]) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        if !any_of.contains(&first) {
            return None;
        }
        self.0 = rest;
        Some(first)
    }

    /// Ticks, from at least one digit.
    fn fraction(&mut self) -> Option<i64> {
        let count = self
            .0
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let (digits, rest) = self.0.split_at(count);
        self.0 = rest;
        let padded = digits
            .iter()
            .copied()
            .chain(std::iter::repeat(b'0'))
            .take(7);
        let ticks = padded.fold(0, |value, digit| value * 10 + i64::from(digit - b'0'));
        (count > 0).then_some(ticks)
    }

    /// Minutes east of UTC.
    fn offset(&mut self) -> Option<i64> {
        if self.0.is_empty() || self.expect(b"Zz").is_some() {
            return Some(0);
        }
        let sign = if self.expect(b"+-")? == b'-' { -1 } else { 1 };
        let hours = self.number(2)?;
        self.expect(b":");
        let minutes = if self.0.is_empty() {
            0
        } else {
            self.number(2)?
        };
        (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_iso(text).unwrap()
    }

    #[test]
    fn the_general_form_has_twelve_hours_and_no_leading_zeros() {
        for (iso, general) in [
            ("2018-08-06T22:33:10Z", "8/6/2018 10:33:10 PM"),
            ("2018-12-31T00:05:00.9Z", "12/31/2018 12:05:00 AM"),
            ("2018-12-31T12:00:09Z", "12/31/2018 12:00:09 PM"),
        ] {
            assert_eq!(Timestamp::parse_iso(iso).unwrap().to_general(), general);
        }
    }

    #[test]
    fn dates_of_headers_and_signatures() {
        let time = Timestamp::parse_iso("2024-03-14T09:54:49.6536567Z").unwrap();

        assert_eq!(time.to_rfc1123(), "Thu, 14 Mar 2024 09:54:49 GMT");
        assert_eq!(time.to_iso_seconds(), "2024-03-14T09:54:49Z");
        let earlier = Timestamp::parse_iso("1969-12-31T23:59:59Z").unwrap();
        assert_eq!(earlier.to_rfc1123(), "Wed, 31 Dec 1969 23:59:59 GMT");
    }

    #[test]
    fn known_dates_are_printed_as_the_service_prints_them() {
        for (ticks, iso) in [
            (0, "1970-01-01T00:00:00.0000000Z"),
            (14_890_842_523_167_248, "2017-03-09T18:30:52.3167248Z"),
            (-1, "1969-12-31T23:59:59.9999999Z"),
            (17_092_511_990_000_000, "2024-02-29T23:59:59.0000000Z"),
        ] {
            let time = Timestamp::from_ticks(ticks);
            assert_eq!(time.to_iso(), iso);
            assert_eq!(at(iso), time);
        }
    }

    #[test]
    fn never_has_its_own_spellings() {
        assert_eq!(Timestamp::NEVER.to_iso(), "0001-01-01T00:00:00Z");
        assert_eq!(Timestamp::NEVER.to_identity_iso(), "0001-01-01T00:00:00");
        assert_eq!(at("0001-01-01T00:00:00"), Timestamp::NEVER);
        assert_eq!(Timestamp::NEVER.dotnet_ticks(), 0);
    }

    #[test]
    fn tracking_ids_spell_the_month_first() {
        assert_eq!(
            at("2021-02-05T10:03:38.9Z").to_tracking(),
            "02/05/2021 10:03:38"
        );
    }

    #[test]
    fn offsets_and_short_forms_are_understood() {
        let noon = at("2024-02-29T12:00:00Z");
        for text in [
            "2024-02-29T12:00",
            "2024-02-29t12:00:00",
            "2024-02-29 12:00:00.000000000001Z",
            "2024-02-29T14:30:00+02:30",
            "2024-02-29T04:00:00.0-0800",
            "2024-02-29T13:00:00+01",
        ] {
            assert_eq!(at(text), noon, "{text}");
        }
    }

    #[test]
    fn dates_that_do_not_exist_are_refused() {
        for text in [
            "",
            "2023-02-29T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-00-01T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00Zx",
            "2024-01-01",
            "0000-01-01T00:00:00Z",
            "2024-01-01T00:00:00+99:00",
            "+024-01-01T00:00:00Z",
        ] {
            assert_eq!(Timestamp::parse_iso(text), None, "{text}");
        }
    }

    #[test]
    fn arithmetic_saturates() {
        let second = Duration::from_secs(1);

        assert_eq!(Timestamp::MAX + second, Timestamp::MAX);
        assert_eq!(
            Timestamp::from_ticks(i64::MIN) - second,
            Timestamp::from_ticks(i64::MIN)
        );
        assert_eq!(Timestamp::UNIX_EPOCH + Duration::MAX, Timestamp::MAX);
        assert_eq!(
            Timestamp::UNIX_EPOCH.since(Timestamp::UNIX_EPOCH + second),
            Duration::ZERO
        );
        assert_eq!(
            (Timestamp::UNIX_EPOCH + second).since(Timestamp::UNIX_EPOCH),
            second
        );
        assert!(Timestamp::MAX.since(Timestamp::from_ticks(i64::MIN)) > Duration::ZERO);
    }

    proptest! {
        #[test]
        fn every_time_of_four_digit_years_round_trips(
            ticks in Timestamp::NEVER.0..253_402_300_800_i64 * TICKS_PER_SECOND
        ) {
            let time = Timestamp::from_ticks(ticks);
            prop_assert_eq!(Timestamp::parse_iso(&time.to_iso()), Some(time));
        }

        #[test]
        fn any_ticks_print(ticks: i64) {
            let time = Timestamp::from_ticks(ticks);
            prop_assert!(!time.to_iso().is_empty());
            prop_assert!(!time.to_tracking().is_empty());
            prop_assert!(!time.to_rfc1123().is_empty());
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".{0,40}", digits in "[-0-9T:.Z+]{0,40}") {
            let _ = Timestamp::parse_iso(&text);
            let _ = Timestamp::parse_iso(&digits);
        }
    }
}
