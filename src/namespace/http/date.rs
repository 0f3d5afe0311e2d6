//! Dates as HTTP writes them (RFC 9110, section 5.6.7), in seconds since 1970.

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

const DAY: i64 = 24 * 60 * 60;

/// Years of two digits from here on are of the last century.
const PIVOT: i64 = 70;

/// Reads any of the three forms; those before 1970 are 0.
pub fn parse(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let (day, month, year, time) = if let Some((_, rest)) = text.split_once(", ") {
        let (date, time) = rest.strip_suffix(" GMT")?.rsplit_once(' ')?;
        let old = date.contains('-');
        let mut parts = date.split(if old { '-' } else { ' ' });
        let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
        let digits = if old { 2 } else { 4 };
        (parts.next().is_none() && year.len() == digits).then_some((day, month, year, time))?
    } else {
        let mut parts = text.split_ascii_whitespace().skip(1);
        let (month, day, time) = (parts.next()?, parts.next()?, parts.next()?);
        let year = parts.next()?;
        (parts.next().is_none() && year.len() == 4).then_some((day, month, year, time))?
    };
    let month = MONTHS.iter().position(|name| *name == month)?;
    let year = match (number(year)?, year.len()) {
        (year, 2) if year < PIVOT => 2000 + year,
        (year, 2) => 1900 + year,
        (year, _) => year,
    };
    let (day, seconds) = (number(day)?, clock(time)?);
    let days = days(year, i64::try_from(month).ok()? + 1, day);
    ((1..=31).contains(&day)).then(|| u64::try_from(days * DAY + seconds).unwrap_or(0))
}

fn number(text: &str) -> Option<i64> {
    let digits = (1..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

fn clock(text: &str) -> Option<i64> {
    let mut parts = text.split(':').map(|part| number(part).filter(|_| part.len() == 2));
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    let fits = parts.next().is_none() && hours < 24 && minutes < 60 && seconds <= 60;
    fits.then_some((hours * 60 + minutes) * 60 + seconds)
}

/// Writes it in the form that is in use.
pub fn format(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX / 2);
    let (days, rest) = (seconds / DAY, seconds % DAY);
    let (year, month, day) = civil(days);
    let name = |list: &'static [&'static str], place: i64| {
        usize::try_from(place).ok().and_then(|place| list.get(place)).copied().unwrap_or("")
    };
    format!(
        "{}, {day:02} {} {year:04} {:02}:{:02}:{:02} GMT",
        name(&WEEKDAYS, days % 7),
        name(&MONTHS, month - 1),
        rest / 3_600,
        rest / 60 % 60,
        rest % 60,
    )
}

/// Days from 1970 to a date, counted in years that begin with March: so the leap day is the last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = (year + era * 400, if month < 10 { month + 3 } else { month - 9 });
    (if month <= 2 { year + 1 } else { year }, month, day)
}
