//! To whom: addresses from a template, over domains of unequal popularity. Pure.

use std::str::FromStr;

use crate::hash::address_key;
use crate::random::Random;

/// Ranks 0..n with weights 1/(rank+1)^s.
#[derive(Debug, Clone)]
pub struct Zipf {
    /// Sums of the weights, the last one 1.
    sums: Vec<f64>,
}

impl Zipf {
    /// Over `n` ranks; `s` 0 is uniform, 1 the classic.
    pub fn new(n: usize, s: f64) -> Self {
        let mut sums = Vec::with_capacity(n.max(1));
        let mut sum = 0.0;
        for rank in 1..=n.max(1) {
            sum += (rank as f64).powf(-s);
            sums.push(sum);
        }
        sums.iter_mut().for_each(|value| *value /= sum);
        Zipf { sums }
    }

    /// A rank.
    pub fn draw(&self, random: &mut Random) -> usize {
        if self.sums.len() == 1 {
            return 0;
        }
        let drawn = random.unit();
        self.sums.partition_point(|sum| *sum <= drawn).min(self.sums.len() - 1)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    User,
    Domain,
}

/// An address with `%u` for the number of a user and `%d` for that of a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

impl FromStr for Template {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if !text.contains('@') || text.contains(['<', '>', ' ']) {
            return Err(format!("{text:?} is not an address such as user%u@d%d.test"));
        }
        let mut pieces = Vec::new();
        for (place, part) in text.split('%').enumerate() {
            let rest = match (place, part.chars().next()) {
                (0, _) => part,
                (_, Some('u')) => {
                    pieces.push(Piece::User);
                    &part[1..]
                }
                (_, Some('d')) => {
                    pieces.push(Piece::Domain);
                    &part[1..]
                }
                _ => return Err(format!("{text:?}: only %u (user) and %d (domain) are known")),
            };
            if !rest.is_empty() {
                pieces.push(Piece::Text(rest.to_owned()));
            }
        }
        Ok(Template(pieces))
    }
}

impl Template {
    fn push(&self, out: &mut Vec<u8>, user: u64, domain: usize) {
        let mut number = itoa::Buffer::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::User => out.extend_from_slice(number.format(user).as_bytes()),
                Piece::Domain => out.extend_from_slice(number.format(domain).as_bytes()),
            }
        }
    }
}

/// Whom messages are for.
#[derive(Debug, Clone)]
pub struct Population {
    /// How an address is written.
    pub template: Template,
    /// `%u` is 0 to this, less one.
    pub users: u64,
    /// `%d`.
    pub domains: Zipf,
}

/// The recipients of one message; its memory is used again for the next.
#[derive(Debug, Default)]
pub struct Recipients {
    text: Vec<u8>,
    ends: Vec<usize>,
    /// Their keys in the ledger.
    pub keys: Vec<u64>,
}

impl Recipients {
    /// Draws `count` of them, users in a row so that none is drawn twice.
    pub fn draw(&mut self, population: &Population, count: usize, random: &mut Random) {
        self.text.clear();
        self.ends.clear();
        self.keys.clear();
        let first = random.below(population.users);
        for n in 0..count as u64 {
            let from = self.text.len();
            let user = (first + n) % population.users.max(1);
            population.template.push(&mut self.text, user, population.domains.draw(random));
            self.keys.push(address_key(&self.text[from..]));
            self.ends.push(self.text.len());
        }
    }

    /// The addresses.
    pub fn addresses(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(from, to)| &self.text[from..*to])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn popularity_falls_as_it_should() {
        let zipf = Zipf::new(1000, 1.0);
        let (mut random, mut counts) = (Random::new(4), vec![0u32; 1000]);
        (0..100_000).for_each(|_| counts[zipf.draw(&mut random)] += 1);
        // The harmonic number of 1000 is 7.485: 13.4 % go to the first, half of that to the second.
        assert!((13_000..13_800).contains(&counts[0]), "{}", counts[0]);
        assert!((6_400..7_000).contains(&counts[1]), "{}", counts[1]);
        let uniform = Zipf::new(10, 0.0);
        let mut counts = [0u32; 10];
        (0..10_000).for_each(|_| counts[uniform.draw(&mut random)] += 1);
        assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
        assert_eq!(Zipf::new(1, 1.0).draw(&mut random), 0);
    }

    #[test]
    fn recipients_of_a_message_differ() {
        let population =
            Population { template: "u%u@d%d.test".parse().expect("valid"), users: 5, domains: Zipf::new(1, 1.0) };
        let mut recipients = Recipients::default();
        recipients.draw(&population, 5, &mut Random::new(1));
        let mut addresses: Vec<_> = recipients.addresses().map(<[u8]>::to_vec).collect();
        assert_eq!(recipients.keys[0], address_key(&addresses[0]));
        addresses.sort();
        assert_eq!(addresses.concat(), b"u0@d0.testu1@d0.testu2@d0.testu3@d0.testu4@d0.test");
    }

    #[test]
    fn templates_are_checked() {
        for wrong in ["user", "a%x@b", "<a@b>"] {
            assert!(wrong.parse::<Template>().is_err(), "{wrong}");
        }
    }
}
