//! `$GENERATE`, which BIND invented: one line that stands for a series of records.

use super::token;
use crate::limits::dns as limits;
use std::fmt::Write;

/// `$GENERATE start-stop[/step] record`, where `$` in the record is the number, `$$` or `\$` a dollar, and
/// `${offset,width,base}` the number plus an offset, padded with zeros, in base d, o, x, X, n or N.
#[derive(Debug)]
pub(super) struct Generate<'t> {
    start: u32,
    stop: u32,
    step: u32,
    record: &'t str,
}

/// Widest padding: more than any label holds.
const WIDEST: usize = 64;

impl<'t> Generate<'t> {
    /// Reads what stands behind `$GENERATE`.
    pub(super) fn parse(text: &'t str) -> Result<Self, String> {
        let (range, record) = token(text);
        let wrong = || format!("$GENERATE needs a range such as 1-20 or 0-100/2, not {range:?}");
        let (bounds, step) = range.split_once('/').unwrap_or((range, "1"));
        let (start, stop) = bounds.split_once('-').ok_or_else(wrong)?;
        let number = |text: &str| text.parse::<u32>().ok().filter(|number| *number <= i32::MAX as u32);
        let numbers = number(start).zip(number(stop)).zip(number(step).filter(|step| *step > 0));
        let ((start, stop), step) = numbers.filter(|((start, stop), _)| start <= stop).ok_or_else(wrong)?;
        let generate = Self { start, stop, step, record: record.trim_start() };
        if generate.record.is_empty() {
            return Err("$GENERATE needs a record behind its range".to_owned());
        }
        if generate.count() > limits::ZONE_GENERATE {
            let (count, most) = (generate.count(), limits::ZONE_GENERATE);
            return Err(format!(
                "$GENERATE would make {count} records, at most {most} are made: split the range"
            ));
        }
        Ok(generate)
    }

    /// How many records it stands for.
    pub(super) fn count(&self) -> usize {
        ((self.stop - self.start) / self.step) as usize + 1
    }

    /// The records as text.
    pub(super) fn entries(&self) -> impl Iterator<Item = Result<String, String>> {
        (self.start..=self.stop).step_by(self.step as usize).map(|number| written(self.record, number))
    }
}

fn written(record: &str, number: u32) -> Result<String, String> {
    let mut text = String::with_capacity(record.len() + 16);
    let mut rest = record;
    while let Some(at) = rest.find(['$', '\\']) {
        let (before, behind) = rest.split_at(at);
        text.push_str(before);
        rest = behind.get(1..).unwrap_or_default();
        if behind.starts_with('\\') {
            // An escape stays one, but for that of the dollar.
            let Some(next) = rest.chars().next() else {
                return Err("a \\ at the end of $GENERATE".to_owned());
            };
            if next != '$' {
                text.push('\\');
            }
            text.push(next);
            rest = rest.get(next.len_utf8()..).unwrap_or_default();
        } else if let Some(behind) = rest.strip_prefix('$') {
            text.push('$');
            rest = behind;
        } else if let Some(behind) = rest.strip_prefix('{') {
            let (modifier, behind) = behind.split_once('}').ok_or("${ of $GENERATE is not closed")?;
            number_as(modifier, number, &mut text)?;
            rest = behind;
        } else {
            text.push_str(&number.to_string());
        }
    }
    text.push_str(rest);
    Ok(text)
}

/// Writes the number as `offset[,width[,base]]` says.
fn number_as(modifier: &str, number: u32, text: &mut String) -> Result<(), String> {
    let wrong = || {
        format!(
            "${{{modifier}}} of $GENERATE is no offset, width (up to {WIDEST}) and base (d, o, x, X, n, N)"
        )
    };
    let mut parts = modifier.split(',');
    let offset: i64 = parts.next().unwrap_or_default().trim().parse().map_err(|_| wrong())?;
    let width: usize = parts.next().map_or(Ok(0), |width| width.trim().parse()).map_err(|_| wrong())?;
    let base = parts.next().unwrap_or("d").trim();
    let value = u32::try_from(i64::from(number) + offset.clamp(-(1 << 40), 1 << 40)).map_err(|_| wrong())?;
    if width > WIDEST || parts.next().is_some() {
        return Err(wrong());
    }
    let written = match base {
        "d" => write!(text, "{value:0width$}"),
        "o" => write!(text, "{value:0width$o}"),
        "x" => write!(text, "{value:0width$x}"),
        "X" => write!(text, "{value:0width$X}"),
        "n" | "N" => {
            let nibbles = nibbles(value, width);
            text.push_str(&if base == "N" { nibbles.to_ascii_uppercase() } else { nibbles });
            Ok(())
        }
        _ => return Err(wrong()),
    };
    // Writing into a text does not fail.
    written.map_err(|_| wrong())
}

/// Hexadecimal digits from the last to the first with dots between them, as reverse zones of IPv6 have them; dots count
/// for the width.
fn nibbles(mut value: u32, width: usize) -> String {
    let mut text = String::new();
    loop {
        text.extend(char::from_digit(value & 0xf, 16));
        value >>= 4;
        if value == 0 && text.len() >= width {
            return text;
        }
        text.push('.');
        if value == 0 && text.len() >= width {
            return text;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Result<Vec<String>, String> {
        Generate::parse(text)?.entries().collect()
    }

    #[test]
    fn a_series_is_written_out() {
        assert_eq!(
            all(" 9-11 h$ A 10.0.0.$").unwrap(),
            ["h9 A 10.0.0.9", "h10 A 10.0.0.10", "h11 A 10.0.0.11"]
        );
        assert_eq!(all("0-4/2 a$$b\\$\\065${-0,3} TXT $").unwrap()[2], "a$b$\\065004 TXT 4");
        assert_eq!(all("10-10 x${10,4,x}.${0,0,X}.${0,3,o} A").unwrap(), ["x0014.A.012 A"]);
        assert_eq!(all("171-171 ${0,7,n} ${0,0,N}").unwrap(), ["b.a.0.0 B.A"]);
    }

    #[test]
    fn what_is_no_series_or_too_long_a_one_is_refused() {
        for wrong in
            ["", "1 a A 1", "2-1 a A 1", "1-2/0 a A 1", "1-x a A 1", "1-2", "-1-2 a A", "0-4294967295 a A"]
        {
            assert!(Generate::parse(wrong).is_err(), "{wrong}");
        }
        let most = limits::ZONE_GENERATE;
        assert!(Generate::parse(&format!("1-{most} a$ A")).is_ok());
        assert!(Generate::parse(&format!("0-{most} a$ A")).unwrap_err().contains("split the range"));
        for wrong in
            ["1-1 ${1", "1-1 ${x}", "1-1 ${0,99}", "1-1 ${0,1,q}", "1-1 ${-2}", "1-1 ${0,1,d,1}", "1-1 x\\"]
        {
            assert!(all(wrong).is_err(), "{wrong}");
        }
    }
}
