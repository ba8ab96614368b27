"""A small simulated world: stories and questions for eleven of bAbI's tasks, without a download."""
import zlib

import numpy as np
import tensorflow_datasets as tfds

from training.datasets import babi

PEOPLE = {"Anna": "she", "Clara": "she", "Hugo": "he", "Oscar": "he"}
PLACES = ("bakery", "library", "market", "museum", "station", "theatre")
THINGS = ("lantern", "umbrella", "violin")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday")
CREATURES = {"bear": "bears", "crow": "crows", "fox": "foxes", "hare": "hares"}
PETS = ("Bruno", "Juno", "Milo", "Pip", "Tara")
COUNTS = ("none", "one", "two", "three")
STORIES = {"train": 200, "test": 200}  # of each kind
QUESTIONS = 5  # of each story
MOST_SENTENCES = 80  # a story this long in which there is nothing to ask for is discarded

_GOES = ("went to", "walked to", "hurried to", "ran to")
_TAKES = ("picked up", "took", "grabbed")
_PUTS = ("put down", "dropped", "set down")
_GIVES = ("handed", "gave", "passed")
_THEN = ("Then", "Next", "Later", "After that")
_SEED = 20_260_102


class SimulatedWorld(tfds.core.GeneratorBasedBuilder):
    """Stories of four people who walk between six places and carry three things, with questions about them.

    The tasks are bAbI's 1, 2, 3, 6, 7, 8, 11, 12, 13, 14 and 15, with this project's own words and simulator: there are 1,000
    training and 1,000 test questions per task, five per story. The first two sentences of a story determine its split, so no
    story, and no beginning of a story with a question, is in both splits. `supporting` lists the positions of the supporting
    sentences in `story`. There is no validation split: hold out some stories.

    Source: the tasks are those of Weston et al., 2015, "Towards AI-Complete Question Answering: A Set of Prerequisite Toy
    Tasks", section 3. What differs: a place in a question ("before the market") was visited only once, so every question has
    one answer; questions that count or list things are balanced over the numbers of things that people hold.
    """

    VERSION = tfds.core.Version("1.0.0")
    NOTICE = "about 10 s"
    pkg_dir_path = None

    def _info(self):
        return self.dataset_info_from_configs(description=self.__doc__, features=babi.features())

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in STORIES}

    def _generate_examples(self, split):
        for place, task in enumerate(KINDS):
            for index in range(STORIES[split]):
                # ids are unique across tasks and splits
                number = (list(STORIES).index(split) * len(KINDS) + place) * 1_000_000 + index
                for count, (story, question, answer, supporting) in enumerate(story_of(split, task, index)):
                    yield f"{number}_{count}", {
                        "story": story, "question": question, "answers": [answer], "supporting": supporting,
                        "story_id": number, "task": task}


def story_of(split, task, index):
    """Returns the questions of one story, a list of (sentences before the question, question, answer, supporting places)."""
    # each story has its own generator, so that it does not depend on the number of draws for the others
    random = np.random.default_rng([_SEED, list(STORIES).index(split), list(KINDS).index(task), index])
    while True:
        found = _questions(task, random)
        if found and _split(found[0][0]) == split:
            return found


def _split(story):
    """Returns the split that a story belongs to; its opening decides, and half of all openings are for training."""
    return list(STORIES)[zlib.crc32(" ".join(story[:2]).encode()) % 2]


def _questions(task, random):
    """Returns the questions of a new story, or None if it grew too long without anything to ask for."""
    world, tell, ask, (least, most) = KINDS[task]
    world, found = world(random), []
    while len(found) < QUESTIONS:
        for _ in range(random.integers(least, most + 1)):
            tell(world)
        while (asked := ask(world)) is None:
            if len(world.story) > MOST_SENTENCES:
                return None
            tell(world)
        found.append((list(world.story), *asked))
    return found


class _World:
    """A world and the story about it so far."""

    def __init__(self, random):
        self.random = random
        self.story = []

    def one(self, values):
        """Returns one of the values, chosen uniformly at random."""
        return values[self.random.integers(len(values))]

    def order(self, values):
        """Returns the values in random order."""
        return [values[place] for place in self.random.permutation(len(values))]

    def say(self, sentence):
        """Adds a sentence to the story and returns its position."""
        self.story.append(sentence[0].upper() + sentence[1:] + ".")
        return len(self.story) - 1


class _Town(_World):
    """Where people are and what they hold. A thing lies in an unknown place until somebody first picks it up."""

    def __init__(self, random):
        super().__init__(random)
        self.place = {}  # of each person who has occurred: (place, sentences that say so)
        self.held = {person: [] for person in PEOPLE}  # things, in the order in which they came
        self.handled = {person: [] for person in PEOPLE}  # sentences in which a person got or gave up something
        self.got = {}  # of each thing that is held: the sentence in which its holder got it
        self.lying = {}  # of each thing that was put down: (place, sentences that say so)
        self.trail = {thing: [] for thing in THINGS}  # (place, sentences that say so and where it was before)

    # events: each adds one or two sentences to the story

    def walk(self, people, subject, opening="", known=()):
        """Moves people to one place, and returns the position of the sentence in the story.

        people:  who walks
        subject: the words that name them in the sentence
        opening: the sentence's first words
        known:   sentences that identify the subject
        """
        left = [self.place[person] for person in people if person in self.place]
        there = self.one([place for place in PLACES if place not in {where for where, _ in left}])
        sentence = self.say(f"{opening}{' ' if opening else ''}{subject} {self.one(_GOES)} the {there}")
        for person in people:
            for thing in self.held[person]:  # whoever holds a thing has been somewhere before
                self.trail[thing].append((there, [self.got[thing], sentence, *self.place[person][1]]))
            self.place[person] = there, [*known, sentence]
        return sentence

    def one_walks(self):
        """Somebody walks."""
        person = self.one(list(PEOPLE))
        self.walk([person], person)

    def one_walks_on(self):
        """Somebody walks, and then walks on as "he" or "she"."""
        person = self.one(list(PEOPLE))
        first = self.walk([person], person)
        self.walk([person], PEOPLE[person], self.one(_THEN), [first])

    def two_walk(self):
        """Two people walk together."""
        people = self.order(list(PEOPLE))[:2]
        self.walk(people, " and ".join(people))

    def two_walk_on(self):
        """Two people walk together, and then walk on as "they"."""
        people = self.order(list(PEOPLE))[:2]
        first = self.walk(people, " and ".join(people))
        self.walk(people, "they", self.one(_THEN), [first])

    def one_acts(self, gives=False):
        """Somebody picks something up, puts it down (or hands it over), or walks."""
        person = self.one(list(PEOPLE))
        here = self.place.get(person, (None,))[0]
        free = [thing for thing in THINGS if here and (
            self.lying[thing][0] == here if thing in self.lying else thing not in self.got)]
        others = [other for other in PEOPLE if other != person and self.place.get(other, (None,))[0] == here]
        draw = self.random.random()
        if draw < 0.4 and free:
            thing = self.one(free)
            sentence = self.say(f"{person} {self.one(_TAKES)} the {thing}")
            if not self.trail[thing]:
                self.trail[thing].append((here, []))
            self.lying.pop(thing, None)
            self._gets(person, thing, sentence)
        elif draw < 0.65 and self.held[person]:
            thing = self.one(self.held[person])
            if gives and others:
                receiver = self.one(others)
                sentence = self.say(f"{person} {self.one(_GIVES)} the {thing} to {receiver}")
                self._gives_up(person, thing, sentence)
                self._gets(receiver, thing, sentence)
            else:
                sentence = self.say(f"{person} {self.one(_PUTS)} the {thing}")
                self._gives_up(person, thing, sentence)
                self.lying[thing] = here, [sentence, *self.place[person][1]]
        else:
            self.walk([person], person)

    def one_acts_or_gives(self):
        """Somebody picks something up, puts it down, hands it over, or walks."""
        self.one_acts(gives=True)

    def _gets(self, person, thing, sentence):
        self.held[person].append(thing)
        self.got[thing] = sentence
        self.handled[person].append(sentence)

    def _gives_up(self, person, thing, sentence):
        self.held[person].remove(thing)
        del self.got[thing]
        self.handled[person].append(sentence)

    # questions: each returns (question, answer, places of the supporting sentences), or None while there is nothing to ask for

    def where_is_somebody(self):
        """Asks for the place of a person."""
        person = self.one(list(self.place))
        return f"Where is {person}?", *self.place[person]

    def where_is_something(self):
        """Asks for the place of a thing."""
        where = dict(self.lying)
        for person, things in self.held.items():
            for thing in things:
                place, sentences = self.place[person]
                where[thing] = place, [self.got[thing], *sentences]
        if not where:
            return None
        thing = self.one([thing for thing in THINGS if thing in where])
        return f"Where is the {thing}?", *where[thing]

    def where_was_something(self):
        """Asks for the place of a thing before another place."""
        found = []
        for thing, trail in self.trail.items():
            places = [place for place, _ in trail]
            found += [(thing, place, before, sentences)
                      for before, (place, sentences) in zip(places, trail[1:]) if places.count(place) == 1]
        if not found:
            return None
        thing, place, before, sentences = self.one(found)
        return f"Where was the {thing} before the {place}?", before, sentences

    def is_somebody_there(self):
        """Asks whether a person is in a place."""
        person = self.one(list(self.place))
        place, sentences = self.place[person]
        if self.random.random() < 0.5:
            return f"Is {person} in the {place}?", "yes", sentences
        other = self.one([other for other in PLACES if other != place])
        return f"Is {person} in the {other}?", "no", sentences

    def how_many(self):
        """Asks how many things a person holds."""
        person = self._holder()
        return person and (f"How many things is {person} holding?", COUNTS[len(self.held[person])],
                           list(self.handled[person]))

    def which(self):
        """Asks which things a person holds."""
        person = self._holder()
        return person and (f"What is {person} holding?", ",".join(self.held[person]) or "nothing",
                           list(self.handled[person]))

    def _holder(self):
        """Returns a person who has held something, with the same chance for each number of things, or None if nobody has."""
        people = [person for person in PEOPLE if self.handled[person]]
        if not people:
            return None
        count = self.one(sorted({len(self.held[person]) for person in people}))
        return self.one([person for person in people if len(self.held[person]) == count])


class _Week(_World):
    """Where four people were on four days, each day in another place; the sentences come in any order."""

    def __init__(self, random):
        super().__init__(random)
        self.places = {person: self.order(PLACES)[:len(DAYS)] for person in PEOPLE}
        self.remaining = self.order([(person, day) for person in PEOPLE for day in range(len(DAYS))])
        self.sentences = {}  # {(person, day): place of its sentence}

    def tell(self):
        """Tells where somebody was on a day."""
        if not self.remaining:
            return
        person, day = self.remaining.pop()
        what = f"{person} {self.one(_GOES)} the {self.places[person][day]}"
        when = f"on {DAYS[day]}"
        self.sentences[person, day] = self.say(self.one([f"{what} {when}", f"{when} {what}"]))

    def ask(self):
        """Asks where somebody was on the day before."""
        # only about two days in a row, so that no later sentence can come between them
        known = [(person, day) for person, day in self.sentences if (person, day - 1) in self.sentences]
        if not known:
            return None
        person, day = self.one(known)
        before, place = self.places[person][day - 1:day + 1]
        return f"Where was {person} before the {place}?", before, [self.sentences[person, day], self.sentences[person, day - 1]]


class _Wood(_World):
    """Creatures, and the kind that each kind hides from."""

    def __init__(self, random):
        super().__init__(random)
        kinds = list(CREATURES)
        self.kind = {pet: self.one(kinds) for pet in PETS}
        self.feared = {kind: self.one([other for other in kinds if other != kind]) for kind in kinds}
        self.unasked = self.order(PETS)
        self.sentences = {}  # {pet or kind: place of its sentence}

    def tell(self):
        """Tells everything at once."""
        if self.sentences:
            return
        for name in self.order([*self.kind, *self.feared]):
            self.sentences[name] = self.say(
                f"{name} is a {self.kind[name]}" if name in self.kind
                else f"{CREATURES[name]} hide from {CREATURES[self.feared[name]]}")

    def ask(self):
        """Asks what a creature hides from."""
        pet = self.unasked.pop()
        kind = self.kind[pet]
        return f"What does {pet} hide from?", CREATURES[self.feared[kind]], [self.sentences[pet], self.sentences[kind]]


# (world, method that tells what happens next, method that asks, (least, most) calls of the former before a question)
KINDS = {
    "single-supporting-fact": (_Town, _Town.one_walks, _Town.where_is_somebody, (2, 2)),
    "two-supporting-facts": (_Town, _Town.one_acts, _Town.where_is_something, (2, 5)),
    "three-supporting-facts": (_Town, _Town.one_acts, _Town.where_was_something, (4, 8)),
    "yes-no-questions": (_Town, _Town.one_acts, _Town.is_somebody_there, (2, 2)),
    "counting": (_Town, _Town.one_acts_or_gives, _Town.how_many, (3, 5)),
    "lists-sets": (_Town, _Town.one_acts, _Town.which, (3, 5)),
    "basic-coreference": (_Town, _Town.one_walks_on, _Town.where_is_somebody, (1, 1)),
    "conjunction": (_Town, _Town.two_walk, _Town.where_is_somebody, (2, 2)),
    "compound-coreference": (_Town, _Town.two_walk_on, _Town.where_is_somebody, (1, 1)),
    "time-reasoning": (_Week, _Week.tell, _Week.ask, (2, 3)),
    "basic-deduction": (_Wood, _Wood.tell, _Wood.ask, (1, 1)),
}
