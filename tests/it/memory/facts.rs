//! Ten thousand facts about five hundred people, and questions about them in other words.

use fastrand::Rng;

/// What is known of every person: how it is said, how it is asked in two ways, and what it may be. The
/// questions share the name with twenty facts, and hardly a word with the one that answers them.
const TOPICS: &str = "
{n} works as a {v}. | What is the occupation of {n}? | {n}: which profession? | plumber, dentist, welder, notary, florist, pilot, baker, surveyor
{n} lives in {v}. | In which town does {n} reside? | Where is the residence of {n}? | Tromso, Porto, Ghent, Graz, Turku, Bologna, Leipzig, Cork
{n} owns a {v}. | Which animal does {n} keep? | What pet is at home with {n}? | parrot, greyhound, tortoise, ferret, pony, canary, hamster, gecko
The favourite dish of {n} is {v}. | What meal does {n} like best? | Which food pleases {n} most? | lasagne, goulash, paella, ramen, moussaka, pierogi, curry, risotto
{n} is allergic to {v}. | What can {n} not tolerate? | Which intolerance must be minded when cooking for {n}? | peanuts, shellfish, sesame, celery, lupins, mustard, almonds, soy
{n} drinks {v} every morning. | Which beverage does {n} take at breakfast? | What does {n} sip after waking up? | espresso, oolong, cocoa, buttermilk, rooibos, kefir, matcha, cider
{n} drives a {v}. | What vehicle does {n} have? | Which car is registered to {n}? | Volvo, Skoda, Fiat, Mazda, Saab, Dacia, Lancia, Subaru
{n} plays {v} on weekends. | Which sport is the hobby of {n}? | What does {n} do on Saturdays and Sundays? | badminton, water polo, curling, squash, handball, croquet, cricket, hockey
{n} practises the {v}. | What musical instrument is {n} learning? | On what does {n} make music? | cello, oboe, banjo, harp, trombone, accordion, viola, bassoon
{n} speaks {v} fluently. | Which foreign language has {n} mastered? | What tongue can {n} converse in? | Finnish, Swahili, Catalan, Korean, Basque, Welsh, Tagalog, Urdu
{n} was born in {v}. | When is the birthday of {n}? | What month does {n} celebrate? | January, March, April, May, July, August, October, December
{n} wears shoes of size {v}. | How big are the feet of {n}? | What footwear would fit {n}? | 36, 37, 38, 39, 41, 42, 44, 45
{n} is reading a novel by {v}. | Whose book is on the nightstand of {n}? | Which author occupies {n} now? | Tolstoy, Woolf, Calvino, Lem, Saramago, Undset, Achebe, Mahfouz
The telephone extension of {n} is {v}. | At what number is {n} called? | Where does one ring {n}? | 4711, 2093, 8846, 1570, 3322, 9018, 6405, 7759
{n} always books a seat {v}. | Where on a plane is {n} comfortable? | What does {n} reserve when flying? | by the window, on the aisle, in the front row, near the exit, over the wing, at the back, behind the galley, upstairs
{n} painted the kitchen {v}. | What colour are the walls where {n} cooks? | In which shade was the room of the stove of {n} done? | turquoise, ochre, lilac, crimson, ivory, olive, magenta, teal
{n} studied {v} at university. | Which degree does {n} hold? | What did {n} graduate in? | geology, law, botany, theology, acoustics, philology, forestry, optics
{n} is married to {v}. | Who is the spouse of {n}? | What is the partner of {n} named? | Alva, Bruno, Celeste, Dario, Elif, Fabian, Greta, Hugo
{n} has a meeting every {v}. | Which appointment of {n} recurs? | When does {n} regularly confer with colleagues? | Monday noon, Tuesday at nine, Wednesday at four, Thursday at ten, Friday at two, Monday at eight, Tuesday at five, Thursday noon
{n} spent the last holiday in {v}. | Where did {n} go on vacation? | What was the latest travel destination of {n}? | Madeira, Iceland, Corsica, Patagonia, Malta, Tasmania, Zanzibar, Shetland
";

const FIRST: [&str; 25] = [
    "Mara", "Jonas", "Ines", "Teodor", "Saskia", "Emil", "Ruta", "Kasper", "Noor", "Viktor",
    "Lucia", "Anselm", "Petra", "Osman", "Dagny", "Rafael", "Hedda", "Milo", "Zora", "Bastian",
    "Yara", "Linus", "Orla", "Casimir", "Thea",
];

const LAST: [&str; 20] = [
    "Lindqvist",
    "Okafor",
    "Baumann",
    "Ferrari",
    "Novak",
    "Achterberg",
    "Delacroix",
    "Papadakis",
    "Svensson",
    "Moreau",
    "Haugen",
    "Kowalski",
    "Brennan",
    "Castellano",
    "Virtanen",
    "Oduya",
    "Zielinski",
    "Marchetti",
    "Dahl",
    "Ribeiro",
];

/// A question and the text that answers it.
pub(super) struct Probe {
    pub(super) question: String,
    pub(super) answer: String,
}

/// All facts in a random order, and `probes` questions about as many of them; the first one is about
/// the first, which is the oldest.
pub(super) fn facts(seed: u64, probes: usize) -> (Vec<String>, Vec<Probe>) {
    let mut random = Rng::with_seed(seed);
    let mut said = Vec::new();
    for (first, last) in FIRST
        .iter()
        .flat_map(|first| LAST.map(|last| (first, last)))
    {
        for topic in TOPICS.trim().lines() {
            let parts: Vec<&str> = topic.split(" | ").collect();
            let value = random.choice(parts[3].split(", ").collect::<Vec<_>>());
            // Half of the questions name people the other way round.
            let name = match random.bool() {
                true => format!("{first} {last}"),
                false => format!("{last}, {first}"),
            };
            let fact = parts[0].replace("{n}", &format!("{first} {last}"));
            said.push(Probe {
                question: parts[random.usize(1..3)].replace("{n}", &name),
                answer: fact.replace("{v}", value.expect("there are some")),
            });
        }
    }
    random.shuffle(&mut said);
    let facts = said.iter().map(|probe| probe.answer.clone()).collect();
    said.truncate(probes);
    (facts, said)
}
