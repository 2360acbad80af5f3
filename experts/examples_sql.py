"""Training examples for the SQL expert, in the prompt format of the project's own `sql` task.

Every example is built from a domain below; the domains and table names are disjoint from those of tasks/sql, so the task
measures whether the skill carries over. A random part of a table's columns is shown, so that the schema has to be read.
"""

from __future__ import annotations

import random
import re
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, replace

Pair = tuple[str, str]
"""A question and the query that answers it."""


@dataclass(frozen=True)
class Column:
    """A column and how people speak of it; `{}` in a phrase takes the value."""

    name: str
    noun: str
    type: str
    values: tuple[str | int | float, ...]
    where: str = ""  # after the plural noun, "{}" is the value: "made by {}"
    over: str = ""
    under: str = ""
    most: str = ""
    least: str = ""

    @property
    def is_text(self) -> bool:
        return self.type == "TEXT"

    @property
    def nouns(self) -> str:
        if self.noun.endswith("y") and not self.noun.endswith("ay"):
            return self.noun[:-1] + "ies"
        return self.noun + ("es" if self.noun.endswith(("s", "ch")) else "s")


@dataclass(frozen=True)
class Table:
    """A table: its label column comes first; `one` and `many` name a row and rows."""

    name: str
    one: str
    many: str
    columns: tuple[Column, ...]

    @property
    def is_people(self) -> bool:
        """Whether one asks "who" for a row."""
        return self.one in {"cook", "owner", "customer", "landlord", "agent", "instructor", "grandmaster"}

    @property
    def label(self) -> Column:
        return self.columns[0]


@dataclass(frozen=True)
class Domain:
    """One or two tables. With a parent, rows of `table` point to it; `link` reads "{rows} {link} {parent label}"."""

    name: str
    table: Table
    parent: Table | None = None
    key: str = ""
    link: str = ""


def text(name: str, noun: str, where: str, values: str) -> Column:
    return Column(name, noun, "TEXT", tuple(values.split(", ")), where or f"with the {noun} {{}}")


def number(
    name: str,
    noun: str,
    low: float,
    high: float,
    step: float,
    words: str = "",
    where: str = "",
) -> Column:
    """`words` is "over | under | most | least", any of them may be empty."""
    over, under, most, least = (part.strip() for part in (words or "|||").split("|"))
    real = isinstance(step, float)
    count = int((high - low) / step) + 1
    values = tuple(round(low + i * step, 2) if real else int(low + i * step) for i in range(count))
    return Column(name, noun, "REAL" if real else "INTEGER", values, where, over, under, most, least)


def table(name: str, one: str, many: str, *columns: Column) -> Table:
    return Table(name, one, many, columns)


CITIES = "Lisbon, Oslo, Madrid, Vienna, Dublin, Prague, Osaka, Boston, Lyon, Turin, Porto, Graz, New York, Cape Town"
COUNTRIES = "Norway, Japan, Kenya, Peru, Canada, Italy, Chile, Nepal, France, Turkey, South Korea, New Zealand, Spain"
PEOPLE = (
    "Anna Berg, Tom Hale, Priya Nair, Luca Conti, Mei Lin, Omar Said, Eva Novak, Jack Stone, Nina Petrov, "
    "Carlos Vega, Ruth Adler, Sam Okoye, Ines Costa, Paul Weber, Aisha Khan, Leo Martin"
)
BUILT = "built after {} | built before {} | newest | oldest"

DOMAINS: tuple[Domain, ...] = (
    Domain(
        "car_dealer",
        table(
            "cars", "car", "cars",
            text("model", "model", "", "Corolla, Golf, Clio, Model S, Civic, Panda, Octavia, Focus, Leaf, Yaris, Astra"),
            text("brand", "brand", "made by {}", "Toyota, Volvo, Fiat, Renault, Kia, Mazda, Ford, Tesla, Skoda"),
            text("fuel", "fuel type", "that run on {}", "petrol, diesel, electricity, hybrid, hydrogen"),
            number("price", "price", 4000, 90000, 500,
                   "that cost more than {} | that cost less than {} | most expensive | cheapest"),
            number("year", "year", 1995, 2024, 1, BUILT, "from {}"),
            number("mileage", "mileage", 0, 240000, 1000, "with more than {} miles | driven less than {} miles | |"),
        ),
        table(
            "dealers", "dealer", "dealers",
            text("name", "name", "", "AutoHaus, CarPoint, Drive Now, City Motors, Wheel World, Best Cars"),
            text("city", "city", "in {}", CITIES),
            number("rating", "rating", 1.0, 5.0, 0.1, "rated above {} | rated below {} | highest rated | lowest rated"),
        ),
        "dealer_id", "sold by",
    ),
    Domain(
        "mountaineering",
        table(
            "mountains", "mountain", "mountains",
            text("name", "name", "", "Aconcagua, Elbrus, Triglav, Fuji, Toubkal, Rysy, Olympus, Teide, Etna, Blue Peak"),
            text("country", "country", "in {}", COUNTRIES),
            text("mountain_range", "range", "in the {}", "Alps, Andes, Himalayas, Atlas, Tatras, Rockies, Pyrenees"),
            number("height", "height", 900, 8800, 50,
                   "higher than {} meters | lower than {} meters | highest | lowest"),
            number("first_ascent", "year of the first ascent", 1780, 1980, 1,
                   "first climbed after {} | first climbed before {} | |", "first climbed in {}"),
        ),
    ),
    Domain(
        "rivers",
        table(
            "rivers", "river", "rivers",
            text("river_name", "name", "", "Danube, Tagus, Amazon, Loire, Volga, Mekong, Green River, Ebro, Neva, Po"),
            text("continent", "continent", "in {}", "Europe, Asia, Africa, South America, North America"),
            text("mouth", "mouth", "that flow into the {}", "Black Sea, Atlantic, North Sea, Pacific, Caspian Sea"),
            number("length", "length", 100, 6800, 20, "longer than {} km | shorter than {} km | longest | shortest"),
            number("discharge", "discharge", 50, 20000, 50),
        ),
    ),
    Domain(
        "cooking",
        table(
            "recipes", "recipe", "recipes",
            text("title", "title", "", "Lentil Soup, Apple Pie, Chicken Curry, Greek Salad, Fish Tacos, Fried Rice, Ratatouille"),
            text("cuisine", "cuisine", "from {} cuisine", "Indian, Thai, French, Mexican, Greek, Moroccan, Japanese"),
            text("difficulty", "difficulty", "with {} difficulty", "easy, medium, hard"),
            number("minutes", "cooking time", 5, 240, 5,
                   "that take more than {} minutes | that take less than {} minutes | slowest | quickest"),
            number("calories", "number of calories", 90, 1400, 10,
                   "with more than {} calories | with fewer than {} calories | |"),
            number("servings", "number of servings", 1, 12, 1, "for more than {} people | for fewer than {} people | |", "for {} people"),
        ),
        table(
            "cooks", "cook", "cooks",
            text("name", "name", "", PEOPLE),
            text("country", "country", "from {}", COUNTRIES),
            number("age", "age", 18, 80, 1, "older than {} | younger than {} | oldest | youngest", "aged {}"),
        ),
        "cook_id", "written by",
    ),
    Domain(
        "electronics",
        table(
            "phones", "phone", "phones",
            text("model", "model", "", "Nova 5, Pixel 7, Edge X, Zen 3, Orion, Spark Mini, Aero, Pulse 9, Titan Pro"),
            text("maker", "maker", "made by {}", "Nokia, Samsung, Google, Sony, Huawei, Xiaomi, Apple, Motorola"),
            text("color", "color", "in {}", "black, white, blue, red, silver, green"),
            number("price", "price", 90, 1500, 10,
                   "that cost more than {} dollars | cheaper than {} dollars | most expensive | cheapest"),
            number("storage", "storage", 32, 1024, 32, "with more than {} GB of storage | with less than {} GB of storage | |",
                   "with {} GB of storage"),
            number("screen", "screen size", 4.7, 7.2, 0.1, "with a screen larger than {} inches | with a screen smaller than {} inches | |"),
        ),
    ),
    Domain(
        "animal_shelter",
        table(
            "pets", "pet", "pets",
            text("name", "name", "", "Bella, Max, Luna, Rocky, Milo, Coco, Simba, Daisy, Oscar, Nala, Rex, Toby"),
            text("kind", "kind", "of the kind {}", "dog, cat, rabbit, hamster, parrot, turtle"),
            text("breed", "breed", "of the breed {}", "Beagle, Siamese, Poodle, Persian, Collie, Boxer, Maine Coon"),
            number("age", "age", 1, 17, 1, "older than {} years | younger than {} years | oldest | youngest", "aged {}"),
            number("weight", "weight", 0.5, 48.0, 0.5,
                   "that weigh more than {} kg | that weigh less than {} kg | heaviest | lightest"),
        ),
        table(
            "owners", "owner", "owners",
            text("name", "name", "", PEOPLE),
            text("city", "city", "in {}", CITIES),
            text("job", "job", "working as a {}", "nurse, plumber, lawyer, writer, dentist, painter"),
        ),
        "owner_id", "owned by",
    ),
    Domain(
        "wine_cellar",
        table(
            "wines", "wine", "wines",
            text("name", "name", "", "Silver Oak, Casa Verde, Old Hill, Red Fox, Monte Alto, Luna Rosa, Stone Creek"),
            text("grape", "grape", "made from {}", "Merlot, Riesling, Malbec, Syrah, Pinot Noir, Chardonnay"),
            text("region", "region", "from {}", "Bordeaux, Tuscany, Rioja, Mosel, Napa Valley, Mendoza, Douro"),
            number("vintage", "vintage", 1985, 2022, 1, "younger than the {} vintage | older than the {} vintage | |", "of the {} vintage"),
            number("price", "price", 6.0, 140.0, 0.5, "above {} euros | under {} euros | most expensive | cheapest"),
            number("alcohol", "alcohol content", 9.0, 15.5, 0.1, "stronger than {} percent | weaker than {} percent | strongest | weakest"),
        ),
    ),
    Domain(
        "space",
        table(
            "satellites", "satellite", "satellites",
            text("name", "name", "", "Sputnik, Envisat, Terra, Aqua, Galileo 4, Vega One, Cryosat, Hubble, Kepler"),
            text("purpose", "purpose", "used for {}", "navigation, weather, research, communication, mapping"),
            number("launch_year", "launch year", 1960, 2024, 1, "launched after {} | launched before {} | newest | oldest", "launched in {}"),
            number("mass", "mass", 5, 8200, 5, "heavier than {} kg | lighter than {} kg | heaviest | lightest"),
            number("altitude", "altitude", 300, 36000, 100, "orbiting above {} km | orbiting below {} km | |"),
        ),
        table(
            "agencies", "agency", "agencies",
            text("name", "name", "", "NASA, ESA, JAXA, ISRO, CNES, Roscosmos"),
            text("country", "country", "from {}", COUNTRIES),
            number("budget", "budget", 50, 25000, 50, "with a budget over {} | with a budget under {} | |"),
        ),
        "agency_id", "launched by",
    ),
    Domain(
        "chess",
        table(
            "grandmasters", "grandmaster", "grandmasters",
            text("full_name", "full name", "", PEOPLE),
            text("federation", "federation", "playing for {}", COUNTRIES),
            number("elo", "Elo rating", 2200, 2860, 1, "rated above {} | rated below {} | strongest | weakest", "rated {}"),
            number("birth_year", "birth year", 1940, 2006, 1, "born after {} | born before {} | youngest | oldest", "born in {}"),
            number("titles", "number of titles", 0, 25, 1, "with more than {} titles | with fewer than {} titles | |", "with {} titles"),
        ),
    ),
    Domain(
        "bridges",
        table(
            "bridges", "bridge", "bridges",
            text("name", "name", "", "Golden Span, Old Bridge, Iron Gate, Long Arch, Harbor Way, Queen Bridge, North Link"),
            text("city", "city", "in {}", CITIES),
            text("material", "material", "made of {}", "steel, stone, wood, concrete, iron"),
            number("length", "length", 20, 3800, 5, "longer than {} meters | shorter than {} meters | longest | shortest"),
            number("opened", "opening year", 1750, 2023, 1, "opened after {} | opened before {} | newest | oldest", "opened in {}"),
        ),
    ),
    Domain(
        "online_shop",
        table(
            "orders", "order", "orders",
            text("product", "product", "for {}", "lamp, desk, chair, mug, blanket, clock, mirror, vase, rug"),
            text("status", "status", "with the status {}", "shipped, pending, cancelled, returned, delivered"),
            number("quantity", "quantity", 1, 40, 1, "for more than {} pieces | for fewer than {} pieces | largest | smallest"),
            number("total", "total", 5.0, 900.0, 0.5, "worth more than {} | worth less than {} | most expensive | cheapest"),
        ),
        table(
            "customers", "customer", "customers",
            text("name", "name", "", PEOPLE),
            text("city", "city", "from {}", CITIES),
            number("points", "number of points", 0, 900, 10, "with more than {} points | with fewer than {} points | |", "with {} points"),
        ),
        "customer_id", "placed by",
    ),
    Domain(
        "real_estate",
        table(
            "apartments", "apartment", "apartments",
            text("address", "address", "", "12 Oak Street, 4 Hill Road, 9 Main Square, 31 Lake View, 7 Mill Lane, 22 Park Row"),
            text("district", "district", "in the {} district", "Old Town, Riverside, Harbor, Green Hill, Station, West End"),
            number("rooms", "number of rooms", 1, 8, 1, "with more than {} rooms | with fewer than {} rooms | |", "with {} rooms"),
            number("rent", "rent", 350, 4200, 25,
                   "with a rent above {} | with a rent below {} | most expensive | cheapest"),
            number("area", "area", 18, 260, 1, "larger than {} square meters | smaller than {} square meters | largest | smallest"),
        ),
        table(
            "landlords", "landlord", "landlords",
            text("name", "name", "", PEOPLE),
            text("phone", "phone number", "", "555-0101, 555-0142, 555-0199, 555-0120, 555-0177"),
            text("language", "language", "who speak {}", "German, Dutch, Spanish, Polish, Korean"),
        ),
        "landlord_id", "rented out by",
    ),
    Domain(
        "podcasting",
        table(
            "episodes", "episode", "episodes",
            text("title", "title", "", "Deep Sea, Night Trains, Lost Maps, Quiet Rooms, First Contact, Salt Roads, Small Gods"),
            text("guest", "guest", "with the guest {}", PEOPLE),
            number("duration", "duration", 10, 180, 1, "longer than {} minutes | shorter than {} minutes | longest | shortest"),
            number("downloads", "number of downloads", 100, 90000, 100,
                   "with more than {} downloads | with fewer than {} downloads | most downloaded | least downloaded"),
        ),
        table(
            "podcasts", "podcast", "podcasts",
            text("name", "name", "", "Mind Field, Byte Talk, Old World, The Long Walk, Sound Lab, Money Matters"),
            text("topic", "topic", "about {}", "history, science, business, nature, politics"),
            text("language", "language", "in {}", "English, German, Spanish, Hindi, Swedish"),
        ),
        "podcast_id", "of",
    ),
    Domain(
        "gaming",
        table(
            "games", "game", "games",
            text("title", "title", "", "Star Forge, Dragon Vale, Mech Arena, Pixel Farm, Dark Tide, Kart Kings, Sky Isles"),
            text("genre", "genre", "of the genre {}", "puzzle, strategy, racing, adventure, shooter, simulation"),
            text("platform", "platform", "for {}", "PC, Switch, Xbox, PlayStation, Android"),
            number("release_year", "release year", 1994, 2024, 1, "released after {} | released before {} | newest | oldest", "released in {}"),
            number("score", "score", 3.0, 10.0, 0.1, "that score above {} | that score below {} | best rated | worst rated"),
            number("copies", "number of copies sold", 1000, 900000, 1000),
        ),
        table(
            "studios", "studio", "studios",
            text("name", "name", "", "Blue Ox, Nova Works, Red Cube, Owl Games, Iron Pixel, Lunar Arts"),
            text("country", "country", "in {}", COUNTRIES),
            number("founded", "founding year", 1980, 2020, 1, "founded after {} | founded before {} | newest | oldest", "founded in {}"),
        ),
        "studio_id", "developed by",
    ),
    Domain(
        "railways",
        table(
            "trains", "train", "trains",
            text("number", "number", "", "IC 204, RE 15, EC 78, S 41, TGV 9, ICE 512, RB 33, NJ 402"),
            text("destination", "destination", "going to {}", CITIES),
            text("operator", "operator", "run by {}", "EuroRail, NordTrain, SwiftLine, Alpine Express, Coastal Lines"),
            number("seats", "number of seats", 60, 900, 10, "with more than {} seats | with fewer than {} seats | |", "with {} seats"),
            number("speed", "top speed", 80, 320, 5, "faster than {} km/h | slower than {} km/h | fastest | slowest"),
            number("delay", "delay", 0, 90, 1, "delayed by more than {} minutes | delayed by less than {} minutes | |"),
        ),
    ),
    Domain(
        "warehouse",
        table(
            "products", "product", "products",
            text("name", "name", "", "Drill, Hammer, Ladder, Paint Roller, Saw, Wrench, Tool Box, Nail Gun, Sander"),
            text("category", "category", "in the {} category", "tools, garden, safety, lighting, storage, plumbing"),
            number("stock", "stock", 0, 600, 5, "with more than {} in stock | with fewer than {} in stock | |", "with {} in stock"),
            number("price", "price", 2.0, 350.0, 0.25, "that cost more than {} | that cost less than {} | most expensive | cheapest"),
        ),
        table(
            "suppliers", "supplier", "suppliers",
            text("company", "company", "", "Acme, Bolt Ltd, NorthTools, Hansen Co, Prime Parts, Delta Supply"),
            text("country", "country", "from {}", COUNTRIES),
            number("employees", "number of employees", 3, 900, 1, "with more than {} employees | with fewer than {} employees | |"),
        ),
        "supplier_id", "supplied by",
    ),
    Domain(
        "botany",
        table(
            "plants", "plant", "plants",
            text("name", "name", "", "Fern, Lavender, Cactus, Basil, Orchid, Ivy, Peace Lily, Aloe Vera, Jasmine"),
            text("light", "light requirement", "that need {}", "full sun, shade, partial shade"),
            text("flower_color", "flower color", "with {} flowers", "white, purple, yellow, pink, red"),
            number("height_cm", "height", 5, 300, 5, "taller than {} cm | shorter than {} cm | tallest | shortest"),
            number("water", "water need", 50, 1500, 50),
        ),
    ),
    Domain(
        "insurance",
        table(
            "claims", "claim", "claims",
            text("claim_number", "claim number", "", "C-1001, C-1044, C-2090, C-3120, C-4077, C-5215"),
            text("type", "type", "of the type {}", "theft, fire, water damage, accident, storm"),
            text("state", "state", "that are {}", "open, closed, rejected, approved"),
            number("amount", "amount", 100, 50000, 100, "over {} dollars | under {} dollars | largest | smallest"),
            number("year", "year", 2010, 2024, 1, "filed after {} | filed before {} | latest | earliest", "filed in {}"),
        ),
        table(
            "agents", "agent", "agents",
            text("name", "name", "", PEOPLE),
            text("office", "office", "in the {} office", CITIES),
            number("experience", "experience", 1, 35, 1,
                   "with more than {} years of experience | with less than {} years of experience | most experienced | least experienced"),
        ),
        "agent_id", "handled by",
    ),
    Domain(
        "weather",
        table(
            "stations", "station", "stations",
            text("station", "station", "", "Hilltop, Airport North, Seaside, Valley East, Lake Camp, Summit, Desert Post"),
            text("country", "country", "in {}", COUNTRIES),
            number("temperature", "temperature", -20.0, 42.0, 0.5, "warmer than {} degrees | colder than {} degrees | warmest | coldest"),
            number("rainfall", "rainfall", 0, 400, 1, "with more than {} mm of rain | with less than {} mm of rain | wettest | driest"),
            number("elevation", "elevation", 0, 3900, 10, "located above {} meters | located below {} meters | highest | lowest"),
        ),
    ),
    Domain(
        "e_learning",
        table(
            "online_courses", "course", "courses",
            text("course_name", "name", "", "Intro to Python, Drawing 101, Data Basics, Public Speaking, Guitar Start, Web Design"),
            text("level", "level", "at the {} level", "beginner, intermediate, advanced"),
            text("subject", "subject", "about {}", "programming, art, business, languages, music"),
            number("weeks", "number of weeks", 1, 20, 1, "that last more than {} weeks | that last less than {} weeks | longest | shortest",
                   "that last {} weeks"),
            number("fee", "fee", 0, 900, 10, "with a fee over {} | with a fee below {} | most expensive | cheapest"),
        ),
        table(
            "instructors", "instructor", "instructors",
            text("name", "name", "", PEOPLE),
            text("country", "country", "from {}", COUNTRIES),
            number("rating", "rating", 2.0, 5.0, 0.1, "rated above {} | rated below {} | best rated | worst rated"),
        ),
        "instructor_id", "taught by",
    ),
    Domain(
        "investing",
        table(
            "startups", "startup", "startups",
            text("name", "name", "", "Zeplin, Farmly, Quanta, Greenbox, Medlink, Payzo, Skywise, Loopit"),
            text("sector", "sector", "in the {} sector", "energy, finance, transport, education, security"),
            number("founded", "founding year", 1998, 2024, 1, "founded after {} | founded before {} | youngest | oldest", "founded in {}"),
            number("funding", "funding", 1, 500, 1, "with more than {} million in funding | with less than {} million in funding | best funded |"),
            number("staff", "number of staff", 2, 800, 1, "with more than {} staff | with fewer than {} staff | largest | smallest"),
        ),
        table(
            "investors", "investor", "investors",
            text("name", "name", "", "Oak Capital, Peak Fund, Blue Ventures, First Seed, Harbor Group"),
            text("city", "city", "based in {}", CITIES),
            number("assets", "assets", 10, 9000, 10, "with assets over {} | with assets under {} | richest | poorest"),
        ),
        "investor_id", "backed by",
    ),
    Domain(
        "cycling",
        table(
            "races", "race", "races",
            text("name", "name", "", "Tour Alpina, Coast Classic, Hill Grand Prix, Spring Cup, Three Valleys, Desert Ride"),
            text("winner", "winner", "won by {}", PEOPLE),
            text("country", "country", "held in {}", COUNTRIES),
            number("distance", "distance", 40, 320, 2, "longer than {} km | shorter than {} km | longest | shortest"),
            number("riders", "number of riders", 20, 220, 2, "with more than {} riders | with fewer than {} riders | largest | smallest"),
        ),
    ),
    Domain(
        "lighthouses",
        table(
            "lighthouses", "lighthouse", "lighthouses",
            text("name", "name", "", "Cape Rock, North Point, Gull Island, Storm Head, White Cliff, Seal Bay"),
            text("coast", "coast", "on the {} coast", "north, south, east, west"),
            text("state", "state", "that are {}", "active, automated, abandoned"),
            number("tower_height", "tower height", 6, 75, 1, "taller than {} meters | shorter than {} meters | tallest | shortest"),
            number("built", "construction year", 1760, 1960, 1, BUILT, "built in {}"),
        ),
    ),
)


@dataclass(frozen=True)
class Scene:
    """What one example shows: the child table with the drawn columns, maybe its parent."""

    table: Table
    parent: Table | None
    key: str
    link: str
    schema: str

    def texts(self) -> list[Column]:
        return [c for c in self.table.columns[1:] if c.is_text]

    def numbers(self) -> list[Column]:
        return [c for c in self.table.columns if not c.is_text]

    @property
    def join(self) -> str:
        assert self.parent is not None
        child, parent = self.table.name, self.parent.name
        return f"{child} JOIN {parent} ON {child}.{self.key} = {parent}.id"


def literal(value: str | int | float) -> str:
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)


def condition(rng: random.Random, column: Column, prefix: str = "") -> Pair:
    """A phrase that follows the plural noun, and its SQL."""
    name = prefix + column.name
    value = rng.choice(column.values)
    if column.is_text:
        forms = [column.where] * 4 + [f"whose {column.noun} is {{}}", f"where the {column.noun} is {{}}"]
        return rng.choice(forms).format(value), f"{name} = {literal(value)}"
    kind = rng.choice([">", ">", ">", "<", "<", "<", ">=", "<=", "BETWEEN", "="])
    if kind == "=" and column.where:
        return column.where.format(value), f"{name} = {value}"
    if kind == "BETWEEN":
        low, high = sorted(rng.sample(column.values, 2))  # type: ignore[type-var]
        phrase = rng.choice(["with a {n} between {a} and {b}", "whose {n} is between {a} and {b}", "with {n} from {a} to {b}"])
        return phrase.format(n=column.noun, a=low, b=high), f"{name} BETWEEN {low} AND {high}"
    if kind in (">=", "<="):
        word = "at least" if kind == ">=" else "at most"
        phrase = rng.choice(["with a {n} of {w} {v}", "whose {n} is {w} {v}"])
        return phrase.format(n=column.noun, w=word, v=value), f"{name} {kind} {value}"
    kind = ">" if kind == ">" else "<"
    own = column.over if kind == ">" else column.under
    words = ["above", "over", "greater than", "higher than"] if kind == ">" else ["below", "under", "less than", "lower than"]
    forms = [own] * 3 if own else []
    forms += [f"with a {column.noun} {rng.choice(words)} {{}}", f"whose {column.noun} is {rng.choice(words)} {{}}"]
    return rng.choice(forms).format(value), f"{name} {kind} {value}"


def any_condition(rng: random.Random, scene: Scene) -> Pair:
    return condition(rng, rng.choice(list(scene.table.columns[1:])))


def maybe_condition(rng: random.Random, scene: Scene, skip: Column, chance: float = 0.5) -> Pair:
    """A condition as (" phrase", " WHERE sql"), or two empty strings."""
    rest = [c for c in scene.table.columns[1:] if c != skip]
    if not rest or rng.random() > chance:
        return "", ""
    phrase, sql = condition(rng, rng.choice(rest))
    return " " + phrase, " WHERE " + sql


def is_state(phrase: str) -> bool:
    """Whether "are" may stand before the phrase: "made by Kia", not "with four rooms"."""
    return not phrase.startswith(("that", "who", "with", "where"))


def select_where(rng: random.Random, s: Scene) -> Pair:
    phrase, where = any_condition(rng, s)
    t, label = s.table, s.table.label
    question = rng.choice([
        f"Which {t.many} are {phrase}?" if is_state(phrase) else f"What {t.many} are there {phrase}?",
        f"List the {label.nouns} of {t.many} {phrase}.",
        f"Show the {label.noun} of all {t.many} {phrase}.",
        f"What are the {label.nouns} of the {t.many} {phrase}?",
        f"Give me the {label.nouns} of {t.many} {phrase}.",
        f"Find the {label.noun} of every {t.one} {phrase}.",
        *([f"Who are the {t.many} {phrase}?"] * 3 if t.is_people else []),
    ])  # fmt: skip
    return question, f"SELECT {label.name} FROM {t.name} WHERE {where}"


def lookup(rng: random.Random, s: Scene) -> Pair:
    t, label = s.table, s.table.label
    column, value = rng.choice(t.columns[1:]), rng.choice(label.values)
    where = f"WHERE {label.name} = {literal(value)}"
    others = [c for c in t.columns[1:] if c != column]
    if others and rng.random() < 0.25:
        other = rng.choice(others)
        question = rng.choice([
            f"What are the {column.noun} and the {other.noun} of {value}?",
            f"Show the {column.noun} and {other.noun} of the {t.one} {value}.",
        ])  # fmt: skip
        return question, f"SELECT {column.name}, {other.name} FROM {t.name} {where}"
    question = rng.choice([
        f"What is the {column.noun} of {value}?",
        f"What {column.noun} does {value} have?",
        f"Find the {column.noun} of the {t.one} {value}.",
        f"Tell me the {column.noun} of {value}.",
        f"What is the {column.noun} of the {t.one} with the {label.noun} {value}?",
    ])  # fmt: skip
    return question, f"SELECT {column.name} FROM {t.name} {where}"


def two_columns(rng: random.Random, s: Scene) -> Pair:
    t, label = s.table, s.table.label
    column = rng.choice(t.columns[1:])
    phrase, where = maybe_condition(rng, s, column, 0.7)
    question = rng.choice([
        f"List the {label.noun} and {column.noun} of all {t.many}{phrase}.",
        f"Show the {label.noun} and the {column.noun} of {t.many}{phrase}.",
        f"What are the {label.nouns} and {column.nouns} of the {t.many}{phrase}?",
    ])  # fmt: skip
    return question, f"SELECT {label.name}, {column.name} FROM {t.name}{where}"


def count(rng: random.Random, s: Scene) -> Pair:
    t = s.table
    if rng.random() < 0.15:
        question = rng.choice([f"How many {t.many} are there?", f"Count all {t.many}.", f"What is the total number of {t.many}?"])
        return question, f"SELECT COUNT(*) FROM {t.name}"
    phrase, where = any_condition(rng, s)
    question = rng.choice([
        f"How many {t.many} {phrase} are there?",
        f"Count the {t.many} {phrase}.",
        f"What is the number of {t.many} {phrase}?",
        f"How many {t.many} are {phrase}?" if is_state(phrase) else f"How many {t.many} are there {phrase}?",
    ])  # fmt: skip
    return question, f"SELECT COUNT(*) FROM {t.name} WHERE {where}"


AGGREGATES = {
    "AVG": ("average", "mean"),
    "SUM": ("total", "sum of the"),
    "MAX": ("highest", "maximum", "largest"),
    "MIN": ("lowest", "minimum", "smallest"),
}


def aggregate(rng: random.Random, s: Scene) -> Pair:
    t, column = s.table, rng.choice(s.numbers())
    function = rng.choice(["AVG", "AVG", "SUM", "MAX", "MIN"])
    word = rng.choice(AGGREGATES[function])
    phrase, where = maybe_condition(rng, s, column, 0.6)
    the = "" if phrase else "all "
    question = rng.choice([
        f"What is the {word} {column.noun} of {the}{t.many}{phrase}?",
        f"Find the {word} {column.noun} of the {t.many}{phrase}.",
        f"Compute the {word} {column.noun} for {the}{t.many}{phrase}.",
    ])  # fmt: skip
    return question, f"SELECT {function}({column.name}) FROM {t.name}{where}"


def like(rng: random.Random, s: Scene) -> Pair:
    t, label = s.table, s.table.label
    column = label if rng.random() < 0.75 else rng.choice(s.texts() or [label])
    value = str(rng.choice(column.values))
    kind = rng.choice(["start", "start", "contain", "contain", "end"])
    word = rng.choice(re.split(r"[ -]", value))
    part, pattern, verb = {
        "start": (value[0], f"{value[0]}%", "starts with"),
        "contain": (word, f"%{word}%", "contains"),
        "end": (value[-1], f"%{value[-1]}", "ends with"),
    }[kind]
    mark = rng.choice(["'{}'", "{}", '"{}"']).format(part)
    where = f"{column.name} LIKE {literal(pattern)}"
    if rng.random() < 0.3:
        return f"How many {t.many} have a {column.noun} that {verb} {mark}?", f"SELECT COUNT(*) FROM {t.name} WHERE {where}"
    question = rng.choice([
        f"Which {t.many} have a {column.noun} that {verb} {mark}? Give the {label.noun}.",
        f"List the {label.nouns} of {t.many} whose {column.noun} {verb} {mark}.",
        f"Find the {label.noun} of all {t.many} whose {column.noun} {verb} {mark}.",
    ])  # fmt: skip
    return question, f"SELECT {label.name} FROM {t.name} WHERE {where}"


def superlative(rng: random.Random, s: Scene) -> Pair:
    t, label, column = s.table, s.table.label, rng.choice(s.numbers())
    high = rng.random() < 0.55
    own = column.most if high else column.least
    if column.noun.endswith("year") and own in ("newest", "youngest", "oldest", "latest", "earliest"):
        extreme = own
    else:
        extreme = rng.choice(["highest", "largest", "greatest"] if high else ["lowest", "smallest"])
    order = f"ORDER BY {column.name} {'DESC' if high else 'ASC'} LIMIT 1"
    phrase, where = maybe_condition(rng, s, column, 0.3)
    generic = extreme not in ("newest", "youngest", "oldest", "latest", "earliest")
    forms = [
        f"Which {t.one}{phrase} has the {extreme} {column.noun}?",
        f"What is the {label.noun} of the {t.one}{phrase} with the {extreme} {column.noun}?",
    ] if generic else []  # fmt: skip
    if own:
        forms += [f"Which {t.one}{phrase} is the {own}?", f"What is the {label.noun} of the {own} {t.one}{phrase}?",
                  f"Find the {own} {t.one}{phrase}."]  # fmt: skip
        forms += [f"Who is the {own} {t.one}{phrase}?"] * 3 if t.is_people else []
        others = [c for c in t.columns[1:] if c != column]
        if others and rng.random() < 0.3:
            other = rng.choice(others)
            question = f"What is the {other.noun} of the {own} {t.one}{phrase}?"
            return question, f"SELECT {other.name} FROM {t.name}{where} {order}"
    return rng.choice(forms), f"SELECT {label.name} FROM {t.name}{where} {order}"


def top(rng: random.Random, s: Scene) -> Pair:
    t, label, column = s.table, s.table.label, rng.choice(s.numbers())
    high, size = rng.random() < 0.6, rng.choice([2, 3, 3, 4, 5, 5, 10])
    own = column.most if high else column.least
    words = ["two", "three", "four", "five", "ten"]
    shown = rng.choice([str(size), words[[2, 3, 4, 5, 10].index(size)]])
    extreme = "highest" if high else "lowest"
    forms = [
        f"List the {shown} {t.many} with the {extreme} {column.noun}.",
        f"What are the {label.nouns} of the {shown} {t.many} with the {extreme} {column.noun}?",
    ] + ([f"What are the {shown} {own} {t.many}?", f"Name the {shown} {own} {t.many}."] if own else [])  # fmt: skip
    return rng.choice(forms), f"SELECT {label.name} FROM {t.name} ORDER BY {column.name} {'DESC' if high else 'ASC'} LIMIT {size}"


def order(rng: random.Random, s: Scene) -> Pair:
    t, label, column = s.table, s.table.label, rng.choice(s.table.columns[1:] + s.table.columns[:1])
    down = rng.random() < 0.5 and not column.is_text
    phrase, where = maybe_condition(rng, s, column, 0.4)
    if column.is_text:
        how = rng.choice([f"in alphabetical order of {column.noun}", f"sorted by {column.noun}", f"ordered by {column.noun}"])
    elif down:
        how = rng.choice([f"from the highest to the lowest {column.noun}", f"sorted by {column.noun} in descending order",
                          f"ordered by {column.noun}, highest first"])  # fmt: skip
    else:
        how = rng.choice([f"from the lowest to the highest {column.noun}", f"sorted by {column.noun} in ascending order",
                          f"sorted by {column.noun}"])  # fmt: skip
    question = rng.choice([f"List the {label.nouns} of all {t.many}{phrase} {how}.", f"Show the {label.noun} of the {t.many}{phrase}, {how}."])
    return question, f"SELECT {label.name} FROM {t.name}{where} ORDER BY {column.name}{' DESC' if down else ''}"


def group(rng: random.Random, s: Scene) -> Pair:
    t, column = s.table, rng.choice(s.texts() or s.numbers())
    by = f"GROUP BY {column.name}"
    if rng.random() < 0.5:
        question = rng.choice([
            f"How many {t.many} are there for each {column.noun}?",
            f"Show the number of {t.many} per {column.noun}.",
            f"Count the {t.many} by {column.noun}.",
            f"For each {column.noun}, how many {t.many} are there?",
            f"List every {column.noun} with its number of {t.many}.",
        ])  # fmt: skip
        return question, f"SELECT {column.name}, COUNT(*) FROM {t.name} {by}"
    if rng.random() < 0.3:
        forms = [f"Which {column.noun} has the most {t.many}?", f"Which {column.noun} is the most common among the {t.many}?",
                 f"What is the most frequent {column.noun} of the {t.many}?"]  # fmt: skip
        return rng.choice(forms), f"SELECT {column.name} FROM {t.name} {by} ORDER BY COUNT(*) DESC LIMIT 1"
    numbers = [c for c in s.numbers() if c != column]
    if not numbers:
        return distinct(rng, s)
    other, function = rng.choice(numbers), rng.choice(["AVG", "AVG", "SUM", "MAX", "MIN"])
    word = rng.choice(AGGREGATES[function])
    question = rng.choice([
        f"What is the {word} {other.noun} for each {column.noun}?",
        f"Show the {word} {other.noun} of {t.many} per {column.noun}.",
        f"For every {column.noun}, find the {word} {other.noun}.",
    ])  # fmt: skip
    return question, f"SELECT {column.name}, {function}({other.name}) FROM {t.name} {by}"


def distinct(rng: random.Random, s: Scene) -> Pair:
    t, column = s.table, rng.choice(s.texts() or [s.table.label])
    if rng.random() < 0.45:
        question = rng.choice([
            f"How many different {column.nouns} are there?",
            f"How many distinct {column.nouns} do the {t.many} have?",
            f"Count the different {column.nouns} of the {t.many}.",
        ])  # fmt: skip
        return question, f"SELECT COUNT(DISTINCT {column.name}) FROM {t.name}"
    phrase, where = maybe_condition(rng, s, column, 0.35)
    question = rng.choice([
        f"What are the different {column.nouns} of the {t.many}{phrase}?",
        f"List all distinct {column.nouns} of {t.many}{phrase}.",
        f"Show each {column.noun} of the {t.many}{phrase} only once.",
        f"Which {column.nouns} do the {t.many}{phrase} have, without repeats?",
    ])  # fmt: skip
    return question, f"SELECT DISTINCT {column.name} FROM {t.name}{where}"


def two_conditions(rng: random.Random, s: Scene) -> Pair:
    t, label = s.table, s.table.label
    pool = list(t.columns[1:])
    if len(pool) < 2:
        return select_where(rng, s)
    if rng.random() < 0.2 and s.texts():
        column = rng.choice(s.texts())
        a, b = (str(v) for v in rng.sample(column.values, 2))
        phrase = f"{column.where.format(a)} or {b}"
        where = f"{column.name} = {literal(a)} OR {column.name} = {literal(b)}"
    elif rng.random() < 0.15 and s.texts():
        column = rng.choice(s.texts())
        value = str(rng.choice(column.values))
        phrase, where = f"whose {column.noun} is not {value}", f"{column.name} != {literal(value)}"
    else:
        # Text before number: "cars made by Kia that cost more than 9000" reads like speech.
        first, second = sorted(rng.sample(pool, 2), key=lambda c: not c.is_text)
        (one, left), (two, right) = condition(rng, first), condition(rng, second)
        phrase, where = f"{one}{rng.choice([' and ', ' ', ' and '])}{two}", f"{left} AND {right}"
    if rng.random() < 0.4:
        return rng.choice([f"How many {t.many} {phrase} are there?", f"Count the {t.many} {phrase}."]), (
            f"SELECT COUNT(*) FROM {t.name} WHERE {where}"
        )
    question = rng.choice([f"List the {label.nouns} of {t.many} {phrase}.", f"Find the {label.noun} of the {t.many} {phrase}.",
                           f"What are the {label.nouns} of {t.many} {phrase}?"])  # fmt: skip
    return question, f"SELECT {label.name} FROM {t.name} WHERE {where}"


def having(rng: random.Random, s: Scene) -> Pair:
    t, column = s.table, rng.choice(s.texts() or s.numbers())
    if not s.numbers() or rng.random() < 0.65:
        size = rng.choice([1, 2, 2, 3, 4, 5])
        words, sign = rng.choice([("more than", ">"), ("more than", ">"), ("at least", ">="), ("fewer than", "<")])
        size += sign != ">"
        question = rng.choice([
            f"Which {column.nouns} have {words} {size} {t.many}?",
            f"List the {column.nouns} with {words} {size} {t.many}.",
            f"Find every {column.noun} that has {words} {size} {t.many}.",
        ])  # fmt: skip
        return question, f"SELECT {column.name} FROM {t.name} GROUP BY {column.name} HAVING COUNT(*) {sign} {size}"
    other = rng.choice(s.numbers())
    value, (word, sign) = rng.choice(other.values), rng.choice([("above", ">"), ("below", "<"), ("greater than", ">")])
    question = rng.choice([
        f"Which {column.nouns} have an average {other.noun} {word} {value}?",
        f"List the {column.nouns} whose average {other.noun} is {word} {value}.",
    ])  # fmt: skip
    return question, f"SELECT {column.name} FROM {t.name} GROUP BY {column.name} HAVING AVG({other.name}) {sign} {value}"


def subquery(rng: random.Random, s: Scene) -> Pair:
    t, label, column = s.table, s.table.label, rng.choice(s.numbers())
    over = rng.random() < 0.6
    word = rng.choice(["above", "higher than", "greater than"] if over else ["below", "lower than", "less than"])
    where = f"{column.name} {'>' if over else '<'} (SELECT AVG({column.name}) FROM {t.name})"
    if rng.random() < 0.3:
        question = f"How many {t.many} have a {column.noun} {word} the average {column.noun}?"
        return question, f"SELECT COUNT(*) FROM {t.name} WHERE {where}"
    question = rng.choice([
        f"Which {t.many} have a {column.noun} {word} the average?",
        f"List the {label.nouns} of {t.many} whose {column.noun} is {word} average.",
        f"Find the {label.noun} of all {t.many} with a {column.noun} {word} the average {column.noun}.",
    ])  # fmt: skip
    return question, f"SELECT {label.name} FROM {t.name} WHERE {where}"


def join(rng: random.Random, s: Scene) -> Pair:
    """A question over both tables; without a parent, one that needs a subquery."""
    if s.parent is None:
        return subquery(rng, s)
    t, p, label, top_label = s.table, s.parent, s.table.label, s.parent.label
    child = f"{t.name}.{label.name}"
    parent_label = f"{p.name}.{top_label.name}"
    owner, value = rng.choice(top_label.values), rng.choice(label.values)
    pick = rng.randrange(10)
    if pick in (0, 1):
        question = rng.choice([f"List the {label.nouns} of {t.many} {s.link} {owner}.", f"Which {t.many} are {s.link} {owner}?",
                               f"Show all {t.many} {s.link} {owner}."])  # fmt: skip
        return question, f"SELECT {child} FROM {s.join} WHERE {parent_label} = {literal(owner)}"
    if pick == 2:
        return f"How many {t.many} are {s.link} {owner}?", f"SELECT COUNT(*) FROM {s.join} WHERE {parent_label} = {literal(owner)}"
    if pick in (3, 4):
        column = rng.choice(p.columns)
        forms = [f"What is the {column.noun} of the {p.one} of {value}?", f"What is the {column.noun} of the {p.one} of the {t.one} {value}?"]
        if column == top_label:
            forms.append(f"Which {p.one} belongs to the {t.one} {value}?")
        return rng.choice(forms), f"SELECT {p.name}.{column.name} FROM {s.join} WHERE {child} = {literal(value)}"
    if pick in (5, 6):
        phrase, where = condition(rng, rng.choice(p.columns[1:]), f"{p.name}.")
        if rng.random() < 0.35:
            return f"How many {t.many} are {s.link} {p.many} {phrase}?", f"SELECT COUNT(*) FROM {s.join} WHERE {where}"
        return f"List the {label.nouns} of {t.many} {s.link} {p.many} {phrase}.", f"SELECT {child} FROM {s.join} WHERE {where}"
    if pick == 7:
        question = rng.choice([f"List each {t.one} with the {top_label.noun} of its {p.one}.",
                               f"Show the {label.noun} of every {t.one} and the {top_label.noun} of its {p.one}."])  # fmt: skip
        return question, f"SELECT {child}, {parent_label} FROM {s.join}"
    if pick == 8:
        question = rng.choice([f"How many {t.many} does each {p.one} have? Show the {top_label.noun} and the number.",
                               f"Show the {top_label.noun} of each {p.one} and its number of {t.many}."])  # fmt: skip
        return question, f"SELECT {parent_label}, COUNT(*) FROM {s.join} GROUP BY {parent_label}"
    if rng.random() < 0.5:
        return f"Which {p.one} has the most {t.many}?", f"SELECT {parent_label} FROM {s.join} GROUP BY {parent_label} ORDER BY COUNT(*) DESC LIMIT 1"
    column, function = rng.choice(s.numbers()), rng.choice(["AVG", "SUM", "MAX", "MIN"])
    question = f"What is the {AGGREGATES[function][0]} {column.noun} of the {t.many} {s.link} {owner}?"
    return question, f"SELECT {function}({t.name}.{column.name}) FROM {s.join} WHERE {parent_label} = {literal(owner)}"


KINDS: tuple[tuple[Callable[[random.Random, Scene], Pair], int], ...] = (
    (select_where, 13), (lookup, 7), (two_columns, 6), (count, 11), (aggregate, 10), (like, 5), (superlative, 10), (top, 4),
    (order, 4), (group, 9), (distinct, 5), (two_conditions, 10), (having, 6), (subquery, 5), (join, 14),
)  # fmt: skip


NEEDS_NUMBER = (aggregate, superlative, top, subquery)


def create(rng: random.Random, t: Table, extra: tuple[str, ...], with_id: bool) -> str:
    columns = [f"{c.name} {c.type}" for c in t.columns]
    return f"CREATE TABLE {t.name} ({', '.join([*(['id INTEGER'] if with_id else []), *columns, *extra])})"


def draw_columns(rng: random.Random, t: Table, least: int, most: int) -> Table:
    """The label and some of the others, a number among them where the table has one."""
    others = list(t.columns[1:])
    numbers = [c for c in others if not c.is_text]
    chosen = set(rng.sample(others, min(len(others), rng.randint(least, most))))
    if numbers and chosen.isdisjoint(numbers):
        chosen.add(rng.choice(numbers))
    kept = [c for c in others if c in chosen]
    if rng.random() < 0.3:
        rng.shuffle(kept)
    return replace(t, columns=(t.label, *kept))


def scene(rng: random.Random, domain: Domain, joined: bool, pair: bool) -> Scene:
    """`joined` shows both tables; `pair` asks about both, otherwise the question may be about the parent alone."""
    if domain.parent is None or not joined:
        if domain.parent is not None and rng.random() < 0.3:
            shown = draw_columns(rng, domain.parent, 2, 2)
            return Scene(shown, None, "", "", create(rng, shown, (), rng.random() < 0.6))
        shown = draw_columns(rng, domain.table, 2, 4)
        return Scene(shown, None, "", "", create(rng, shown, (), rng.random() < 0.6))
    child, parent = draw_columns(rng, domain.table, 1, 3), draw_columns(rng, domain.parent, 1, 2)
    lines = [create(rng, parent, (), True), create(rng, child, (f"{domain.key} INTEGER",), True)]
    schema = "\n".join(lines if rng.random() < 0.7 else lines[::-1])
    if not pair and rng.random() < 0.3:
        return Scene(parent, None, "", "", schema)
    return Scene(child, parent, domain.key, domain.link, schema)


def runs(schema: str, sql: str) -> bool:
    """Whether SQLite accepts the query on the empty tables."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.executescript(schema.replace("\n", ";\n"))
        connection.execute(sql).fetchall()
        return True
    except sqlite3.Error:
        return False
    finally:
        connection.close()


def examples(seed: int = 0, count: int = 3000) -> list[dict[str, str]]:
    """`count` different examples {"prompt", "completion"}; the same for the same seed and count.

    Raises ValueError when a generated query does not run on its schema: a spec above is wrong then.
    """
    rng = random.Random(seed)
    paired = [d for d in DOMAINS if d.parent is not None]
    kinds, weights = [k for k, _ in KINDS], [w for _, w in KINDS]
    found: dict[str, dict[str, str]] = {}
    while len(found) < count:
        kind = rng.choices(kinds, weights)[0]
        domain = rng.choice(paired if kind is join else DOMAINS)
        shown = scene(rng, domain, joined=kind is join or rng.random() < 0.4, pair=kind is join)
        if kind in NEEDS_NUMBER and not shown.numbers():
            continue
        question, sql = kind(rng, shown)
        question = re.sub(r"\ba (?=[aeioAEIO])", "an ", question)
        if not runs(shown.schema, sql):
            raise ValueError(f"a query must run on its schema, got {sql!r} on {shown.schema!r}; cure its domain {domain.name}")
        prompt = f"{shown.schema}\n\nQuestion: {question}\nSQL:"
        found.setdefault(prompt, {"prompt": prompt, "completion": f" {sql}"})
    return list(found.values())


def domain_names() -> set[str]:
    """The training domains, for the test that keeps them out of the task."""
    return {d.name for d in DOMAINS}


def table_names() -> set[str]:
    """The training tables, for the same test."""
    return {t.name for d in DOMAINS for t in (d.table, d.parent) if t is not None}
