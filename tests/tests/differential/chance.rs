//! Reproducible choices: a run prints its seed. A short run starts from a kept one, so that what it says of a change is about
//! that change; a full one (`KEYLIME_TEST_EFFORT=full`) from a new one each time; `KEYLIME_DIFFERENTIAL_SEED` repeats any.

/// A generator of choices (splitmix64).
pub struct Chance(u64);

/// Where short runs start.
const KEPT_SEED: u64 = 0x4B65_796C_696D_6531;

impl Chance {
    /// The generator of this run, for one kind of cases.
    pub fn of_run(kind: &str) -> Self {
        let seed = std::env::var("KEYLIME_DIFFERENTIAL_SEED").ok().and_then(|text| text.parse().ok());
        let is_full = std::env::var("KEYLIME_TEST_EFFORT").is_ok_and(|effort| effort == "full");
        let seed: u64 = seed.unwrap_or_else(|| {
            if !is_full {
                return KEPT_SEED;
            }
            let mut bytes = [0; 8];
            aws_lc_rs::rand::fill(&mut bytes).expect("the system has randomness");
            u64::from_le_bytes(bytes)
        });
        println!("{kind}: KEYLIME_DIFFERENTIAL_SEED={seed}");
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).unwrap_or(0)
    }

    /// Once in `of` times.
    pub fn once_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    pub fn pick<'t, T: ?Sized>(&mut self, items: &[&'t T]) -> &'t T {
        items[self.below(items.len())]
    }

    pub fn hex(&mut self, bytes: usize) -> String {
        (0..bytes).map(|_| format!("{:02x}", self.next() & 0xFF)).collect()
    }

    /// The text with one of its characters replaced, removed, doubled or joined by another.
    pub fn edited(&mut self, text: &str, alphabet: &str) -> String {
        let mut characters: Vec<char> = text.chars().collect();
        let alphabet: Vec<char> = alphabet.chars().collect();
        let place = self.below(characters.len() + 1);
        let other = alphabet[self.below(alphabet.len())];
        match self.below(4) {
            0 if place < characters.len() => characters[place] = other,
            1 if place < characters.len() => {
                characters.remove(place);
            }
            2 if place < characters.len() => characters.insert(place, characters[place]),
            _ => characters.insert(place, other),
        }
        characters.into_iter().collect()
    }
}

/// Cases a run tries: of `usual`, or ten times as many with `KEYLIME_TEST_EFFORT=full`.
pub fn cases(usual: usize) -> usize {
    if std::env::var("KEYLIME_TEST_EFFORT").is_ok_and(|effort| effort == "full") { usual * 10 } else { usual }
}
