"""Subject areas of the SQL expert's training examples: tables, values, and how people speak of them.

Disjoint from the domains and table names of tasks/sql (a test holds them apart).
"""

from __future__ import annotations

from dataclasses import dataclass


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
COUNTRIES = (
    "Norway, Japan, Kenya, Peru, Canada, Italy, Chile, Nepal, France, Turkey, South Korea, New Zealand, Spain"
)
PEOPLE = (
    "Anna Berg, Tom Hale, Priya Nair, Luca Conti, Mei Lin, Omar Said, Eva Novak, Jack Stone, Nina Petrov, "
    "Carlos Vega, Ruth Adler, Sam Okoye, Ines Costa, Paul Weber, Aisha Khan, Leo Martin"
)
BUILT = "built after {} | built before {} | newest | oldest"

# fmt: off
# ruff: noqa: E501
# A table to read: one column a line, however long its list of values.
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
