//! How large messages are. Pure, but for reading a list once.

use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, bail};

use crate::random::Random;
use crate::values::Size;

/// Larger messages are not made.
pub const SIZE_MAX: usize = 256 * 1024 * 1024;

/// A distribution of sizes, as it is typed.
#[derive(Debug, Clone, PartialEq)]
pub enum SizeChoice {
    /// All alike.
    Fixed(usize),
    /// Lognormal: half are smaller than the median, and some much larger.
    Lognormal {
        /// In bytes.
        median: usize,
        /// Deviation of the logarithm.
        sigma: f64,
    },
    /// From a file with a size on each line.
    File(String),
}

impl FromStr for SizeChoice {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("file:") {
            return Ok(SizeChoice::File(path.to_owned()));
        }
        let Some(parameters) = text.strip_prefix("lognormal:") else {
            return Ok(SizeChoice::Fixed(text.parse::<Size>()?.0));
        };
        let (median, sigma) = parameters.split_once(',').unwrap_or((parameters, "1"));
        let sigma = sigma.trim().parse::<f64>().ok().filter(|sigma| (0.0..=5.0).contains(sigma));
        let sigma = sigma.ok_or_else(|| format!("{text:?}: write lognormal:MEDIAN,SIGMA with a sigma of 0 to 5"))?;
        Ok(SizeChoice::Lognormal { median: median.parse::<Size>()?.0, sigma })
    }
}

/// A distribution to draw from.
#[derive(Debug, Clone)]
pub enum Sizes {
    /// All alike.
    Fixed(usize),
    /// With a bound, so that no single message is the whole run.
    Lognormal {
        /// In bytes.
        median: f64,
        /// Deviation of the logarithm.
        sigma: f64,
        /// Larger ones are cut to this.
        most: usize,
    },
    /// Each as likely as it is often in the list.
    List(Vec<usize>),
}

impl Sizes {
    /// Makes a choice ready to draw from; `most` bounds every size.
    pub fn resolve(choice: &SizeChoice, most: usize) -> anyhow::Result<Self> {
        Ok(match choice {
            SizeChoice::Fixed(size) => Sizes::Fixed((*size).min(most)),
            SizeChoice::Lognormal { median, sigma } => Sizes::Lognormal { median: *median as f64, sigma: *sigma, most },
            SizeChoice::File(path) => Sizes::List(read_list(Path::new(path), most)?),
        })
    }

    /// The next size.
    pub fn draw(&self, random: &mut Random) -> usize {
        match self {
            Sizes::Fixed(size) => *size,
            Sizes::Lognormal { median, sigma, most } => {
                let size = median * (sigma * random.normal()).exp();
                (size.min(*most as f64) as usize).max(1)
            }
            Sizes::List(list) => list.get(random.below(list.len() as u64) as usize).copied().unwrap_or(1),
        }
    }

    /// The largest that can be drawn.
    pub fn most(&self) -> usize {
        match self {
            Sizes::Fixed(size) => *size,
            Sizes::Lognormal { most, .. } => *most,
            Sizes::List(list) => list.iter().copied().max().unwrap_or(1),
        }
    }

    /// In words.
    pub fn words(&self) -> String {
        match self {
            Sizes::Fixed(size) => format!("{size} bytes"),
            Sizes::Lognormal { median, sigma, most } => {
                format!("lognormal, median {median:.0} bytes, sigma {sigma}, at most {most}")
            }
            Sizes::List(list) => format!("from a list of {} sizes, at most {}", list.len(), self.most()),
        }
    }
}

fn read_list(path: &Path, most: usize) -> anyhow::Result<Vec<usize>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let sizes: Result<Vec<usize>, String> = lines.map(|line| Ok(line.parse::<Size>()?.0.min(most))).collect();
    match sizes {
        Ok(sizes) if !sizes.is_empty() => Ok(sizes),
        Ok(_) => bail!("{} holds no size", path.display()),
        Err(error) => bail!("{}: {error}", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lognormal_has_its_median_and_its_tail() {
        let choice: SizeChoice = "lognormal:10K,1.2".parse().expect("valid");
        let sizes = Sizes::resolve(&choice, 1 << 20).expect("resolves");
        let mut random = Random::new(9);
        let mut drawn: Vec<usize> = (0..20_000).map(|_| sizes.draw(&mut random)).collect();
        drawn.sort_unstable();
        assert!((9_700..10_800).contains(&drawn[10_000]), "{}", drawn[10_000]);
        // One deviation above the median: e^1.2 = 3.32 times, at 84.1 %.
        assert!((3.1..3.55).contains(&(drawn[16_827] as f64 / 10_240.0)), "{}", drawn[16_827]);
        assert!(drawn[19_999] <= 1 << 20);
    }

    #[test]
    fn what_is_typed_is_read() {
        assert_eq!("1000".parse(), Ok(SizeChoice::Fixed(1000)));
        assert_eq!("lognormal:2K".parse(), Ok(SizeChoice::Lognormal { median: 2048, sigma: 1.0 }));
        assert!("lognormal:2K,9".parse::<SizeChoice>().is_err() && "big".parse::<SizeChoice>().is_err());
    }

    #[test]
    fn a_list_is_drawn_as_often_as_it_says() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("sizes");
        std::fs::write(&path, "# of a real queue\n1K\n1K\n1K\n5000\n").expect("written");
        let choice = format!("file:{}", path.display()).parse().expect("valid");
        let sizes = Sizes::resolve(&choice, 1 << 20).expect("resolves");
        let mut random = Random::new(2);
        let small = (0..1000).filter(|_| sizes.draw(&mut random) == 1024).count();
        assert!((700..800).contains(&small), "{small}");
        assert_eq!(sizes.most(), 5000);
    }
}
