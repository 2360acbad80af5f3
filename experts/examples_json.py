"""Training examples for the JSON expert: a request in words, a schema, and the one-line JSON that conforms to it.

Every example is drawn from a topic (a parcel, an alarm, a DNS record ...): a random choice of its fields, under randomly
chosen key names, spellings and constraints. Keys and enum values therefore differ from the request's words and from one
example to the next, so the only way to learn the task is to read the schema. Topics are disjoint from tasks/json.
"""

# ruff: noqa: E501
# The tables below read best with few line breaks.

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Drawn = tuple[dict[str, Any], Any, str]  # sub-schema, value, words of the request


@dataclass(frozen=True)
class Field:
    """One property: candidate key names, and a draw of (sub-schema, value, words)."""

    keys: tuple[str, ...]
    draw: Callable[[random.Random], Drawn]


@dataclass(frozen=True)
class Topic:
    """What a request is about: how it opens, its fields, and (for some) the fields of a repeated row."""

    openers: tuple[str, ...]
    fields: tuple[Field, ...]
    row_keys: tuple[str, ...] = ()
    row: tuple[Field, ...] = ()


# fmt: off
NUMERALS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
          "November", "December")
FIRST = ("Ana", "Ben", "Chloe", "Dmitri", "Elif", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Kofi", "Lena", "Marco",
         "Noor", "Olga", "Pavel", "Quinn", "Rosa", "Sven", "Tara", "Umar", "Vera", "Wanda", "Yusuf", "Zoe")
LAST = ("Abbott", "Berg", "Costa", "Duarte", "Engel", "Fischer", "Garcia", "Haas", "Ito", "Jansen", "Klein", "Lopez",
        "Meyer", "Novak", "Okafor", "Patel", "Rossi", "Silva", "Tanaka", "Weber")
NAMES = FIRST + tuple(f"{first} {last}" for first in FIRST[::2] for last in LAST[::3])
CITIES = ("Lisbon", "Oslo", "Kyoto", "Denver", "Porto", "Lima", "Cork", "Turin", "Accra", "Hanoi", "Quito", "Bergen",
          "Tallinn", "Austin", "Leeds", "Ghent", "Basel", "Cairo", "New Delhi", "San Diego")
# fmt: on


def choose(text: str, rng: random.Random) -> str:
    """One of the alternatives separated by a bar."""
    return rng.choice(text.split("|"))


def whole(keys: str, text: str, low: int, high: int) -> Field:
    """An integer; small ones may be written as a word; bounds appear in some schemas."""

    def draw(rng: random.Random) -> Drawn:
        value = rng.randint(low, high)
        schema: dict[str, Any] = {"type": "integer"}
        if rng.random() < 0.3:
            schema["minimum"] = low
        if rng.random() < 0.25:
            schema["maximum"] = high
        shown = NUMERALS[value] if 1 <= value <= 12 and rng.random() < 0.4 else str(value)
        return schema, value, choose(text, rng).format(shown)

    return Field(tuple(keys.split()), draw)


def number(keys: str, text: str, low: float, high: float, digits: int = 1) -> Field:
    def draw(rng: random.Random) -> Drawn:
        value = round(rng.uniform(low, high), digits)
        schema: dict[str, Any] = {"type": "number"}
        if rng.random() < 0.2:
            schema["minimum"] = int(low)
        return schema, value, choose(text, rng).format(value)

    return Field(tuple(keys.split()), draw)


def words(keys: str, text: str, pool: tuple[str, ...] | str) -> Field:
    options = tuple(pool.split("|")) if isinstance(pool, str) else pool

    def draw(rng: random.Random) -> Drawn:
        value = rng.choice(options)
        return {"type": "string"}, value, choose(text, rng).format(value)

    return Field(tuple(keys.split()), draw)


def flag(keys: str, yes: str, no: str) -> Field:
    def draw(rng: random.Random) -> Drawn:
        value = rng.random() < 0.5
        return {"type": "boolean"}, value, choose(yes if value else no, rng)

    return Field(tuple(keys.split()), draw)


def one_of(keys: str, **phrases: str) -> Field:
    """An enum: the argument names are the values (underscore kept), the texts are how people say them."""

    def draw(rng: random.Random) -> Drawn:
        value = rng.choice(sorted(phrases))
        others = [name for name in sorted(phrases) if name != value]
        values = [value, *rng.sample(others, rng.randint(1, len(others)))]
        rng.shuffle(values)
        spell: Callable[[str], str] = rng.choices((str, str.upper, str.capitalize), (7, 2, 1))[0]
        schema: dict[str, Any] = {"enum": [spell(name) for name in values]}
        if rng.random() < 0.2:
            schema = {"type": "string", **schema}
        return schema, spell(value), choose(phrases[value], rng)

    return Field(tuple(keys.split()), draw)


def many(keys: str, text: str, pool: str, most: int = 3) -> Field:
    """An array of strings, or of an enum's values; numerals in the pool give an array of integers."""
    options: list[Any] = [int(x) if x.isdigit() else x for x in pool.split("|")]

    def draw(rng: random.Random) -> Drawn:
        value = rng.sample(options, rng.randint(1, most))
        items: dict[str, Any] = {"type": "integer" if isinstance(options[0], int) else "string"}
        if rng.random() < 0.3:
            extra = [x for x in options if x not in value]
            offered = value + rng.sample(extra, min(1, len(extra)))
            rng.shuffle(offered)
            items = {"enum": offered}
        schema: dict[str, Any] = {"type": "array", "items": items}
        if rng.random() < 0.35:
            schema["minItems"] = 1
        shown = " and ".join(filter(None, (", ".join(map(str, value[:-1])), str(value[-1]))))
        return schema, value, choose(text, rng).format(shown)

    return Field(tuple(keys.split()), draw)


def time(keys: str, text: str) -> Field:
    """A time said in one of three ways, written HH:MM."""

    def draw(rng: random.Random) -> Drawn:
        hour, minute = rng.randint(6, 22), rng.choice((0, 0, 15, 30, 45))
        value = f"{hour:02d}:{minute:02d}"
        half = "am" if hour < 12 else "pm"
        spoken = f"{(hour - 1) % 12 + 1}{f':{minute:02d}' if minute else ''} {half}"
        schema: dict[str, Any] = {"type": "string"}
        if rng.random() < 0.7:
            schema["pattern"] = "^[0-9]{2}:[0-9]{2}$"
        return schema, value, choose(text, rng).format(rng.choice((value, spoken)))

    return Field(tuple(keys.split()), draw)


def date(keys: str, text: str) -> Field:
    """A date said in words, written YYYY-MM-DD."""

    def draw(rng: random.Random) -> Drawn:
        year, month, day = rng.randint(2023, 2027), rng.randint(1, 12), rng.randint(1, 28)
        value = f"{year}-{month:02d}-{day:02d}"
        name = MONTHS[month - 1]
        spoken = rng.choice((value, f"{day} {name} {year}", f"{name} {day}, {year}"))
        schema: dict[str, Any] = {"type": "string"}
        if rng.random() < 0.6:
            schema["pattern"] = rng.choice(("^[0-9]{4}-[0-9]{2}-[0-9]{2}$", "^20[0-9-]+$", "^[0-9]{4}-"))
        return schema, value, choose(text, rng).format(spoken)

    return Field(tuple(keys.split()), draw)


def code(keys: str, text: str, letters: int, digits: int, join: str = "") -> Field:
    """An identifier of letters then digits; a string even when it holds digits only."""

    def draw(rng: random.Random) -> Drawn:
        head, tail = rng.choices("ABCDEFGHKLMNPRSTVX", k=letters), rng.choices("0123456789", k=digits)
        value = "".join(head) + join + "".join(tail)
        pattern = (
            "^" + (f"[A-Z]{{{letters}}}" if letters > 1 else "[A-Z]" * letters) + join + f"[0-9]{{{digits}}}$"
        )
        schema = {"type": "string", "pattern": pattern} if rng.random() < 0.7 else {"type": "string"}
        return schema, value, choose(text, rng).format(value)

    return Field(tuple(keys.split()), draw)


def topic(openers: str, *fields: Field, rows: str = "", row: tuple[Field, ...] = ()) -> Topic:
    return Topic(tuple(openers.split("|")), fields, tuple(rows.split()), row)


PRIORITY = dict(
    low="no hurry|not urgent|whenever you can",
    normal="normal urgency|the usual priority",
    high="urgent|as soon as possible|very pressing",
)
# fmt: off
TOPICS = (
    topic("Order a pizza|Pizza order", one_of("size pizza_size sz", small="a small one", medium="medium size", large="the big one|a large one"),
          many("toppings extras on_top", "with {}|topped with {}", "ham|olives|mushrooms|onions|basil|corn|tuna"),
          whole("qty count pieces", "{} of them|quantity {}", 1, 9), flag("delivery bring_it", "delivered to my door", "I will collect it"),
          words("base crust", "{} crust", "thin|thick|cheese|wholemeal"), rows="pizzas order_lines lines",
          row=(words("name kind", "a {}", "Margherita|Funghi|Diavola|Napoli|Veggie"), whole("n qty count", "times {}", 1, 6))),
    topic("Book a hotel room|Room reservation", words("city place town", "in {}", CITIES), whole("nights stay_length", "for {} nights", 2, 14),
          date("check_in arrival from_date", "arriving {}|from {}"), one_of("room bed_type", single="a room for one", double="a room for two", suite="the best room you have"),
          flag("breakfast with_breakfast", "breakfast included", "no breakfast"), words("guest booked_by", "for {}|guest {}", NAMES)),
    topic("Open a support ticket|Customer complaint", words("subject title about", "about {}|the trouble is {}", "a login failure|a missing email|slow pages|a broken link|a wrong price|lost data"),
          one_of("priority urgency level", **PRIORITY), words("customer client reporter", "from {}|reported by {}", NAMES),
          many("tags labels", "labels {}", "web|mobile|billing|api|email|search"), code("ticket_id ref", "ticket {}", 2, 4, "-")),
    topic("Set an alarm|Wake me", time("at time rings_at", "at {}"), many("days weekdays repeat", "on {}", "mon|tue|wed|thu|fri|sat|sun"),
          flag("snooze allow_snooze", "snooze allowed", "without snooze"), words("sound tone melody", "with the {} sound", "bells|birds|radar|waves|harp"),
          whole("volume loudness", "volume {}", 1, 10)),
    topic("Change the lamp|Light control", words("room zone where", "in the {}", "kitchen|hall|bedroom|office|attic|bathroom"),
          whole("brightness dim_level level", "at {} percent", 1, 100), one_of("state power", on="switch it on", off="switch it off"),
          one_of("color tint colour", warm="cosy yellowish light", cold="bluish light", white="plain white light")),
    topic("Robot vacuum job|Clean the floor", many("rooms areas", "in {}", "kitchen|hall|bedroom|office|lounge"), one_of("mode power_mode", quiet="without noise|silently", normal="at usual power", turbo="at full power"),
          time("start begin_at", "starting at {}"), flag("mop wet", "mop as well", "dry only"), whole("passes rounds", "{} passes", 2, 4)),
    topic("Order a taxi|Cab request", words("pickup from_place origin", "from {}", "Main Street 4|the airport|Hill Road 12|the station|City Hall"), words("dropoff to_place target", "to {}", "the zoo|Park Avenue|the hospital|the harbour|Elm Street 9"),
          time("pickup_time when", "at {}"), whole("riders seats pax", "{} passengers", 2, 6), one_of("car vehicle class", standard="an ordinary car", van="a van", luxury="a fancy car")),
    topic("Library loan|Lend a book", words("title book", 'the book "{}"', "Dune|Emma|Ulysses|Persuasion|Middlemarch|Beloved"), words("borrower reader member", "to {}", NAMES),
          date("due return_by", "due {}|back by {}"), whole("renewals extended", "renewed {} times", 2, 5), code("shelf shelf_code", "shelf {}", 1, 3)),
    topic("Shopping list|Buy food", words("shop store", "at {}", "Aldo's|the market|GreenMart|Corner Shop"), number("budget limit max_cost", "spend at most {} euros", 10, 90, 2), one_of("urgency prio", **PRIORITY),
          rows="items list products", row=(words("name item product", "{}", "rice|milk|flour|eggs|butter|beans|pears|salt"), whole("qty amount n", "{} packs", 2, 12))),
    topic("Gym session|Workout log", words("exercise move", "{}", "squats|rowing|bench press|planks|lunges|pull-ups"), whole("minutes duration_min", "for {} minutes", 13, 90), whole("sets rounds", "{} sets", 2, 6),
          one_of("effort intensity", easy="it felt light", hard="it was exhausting", medium="moderate effort"), words("athlete who", "by {}", NAMES), rows="sets exercises entries",
          row=(words("move exercise", "{}", "squats|dips|planks|lunges|curls"), whole("reps count", "{} times", 5, 30))),
    topic("Bug report|Software defect", words("module component part", "in the {}", "parser|login page|scheduler|cache layer|exporter"), one_of("severity sev", minor="only cosmetic", major="an important function fails", critical="the program crashes"),
          flag("reproducible repeatable", "happens every time", "cannot be repeated"), words("assignee owner", "give it to {}", NAMES), code("version_tag build", "build {}", 1, 3)),
    topic("Deploy a service|Release request", words("service app name", "service {}", "billing|gateway|search|mailer|auth"), one_of("env stage target", prod="to production|live", staging="to the test system", dev="to the development system"),
          whole("replicas instances", "{} replicas", 1, 12), flag("rollback auto_rollback", "undo it on failure", "never roll back"), many("regions zones", "in {}", "eu|us|asia|africa")),
    topic("Database backup|Back up data", words("database db source", "of {}", "orders|users|stock|ledger|events"), one_of("kind type backup_type", full="everything", incremental="only what changed"), time("run_at start", "at {} every day"),
          whole("keep_days retention", "keep for {} days", 13, 90), flag("encrypt encrypted", "encrypted", "in the clear")),
    topic("Firewall rule|Network filter", one_of("action verdict", allow="let it through|permit", deny="block it|refuse"), whole("port dst_port", "port {}", 20, 9000), one_of("protocol proto", tcp="TCP traffic", udp="UDP traffic"),
          words("source src from_ip", "from {}", "10.0.0.5|192.168.1.7|172.16.3.2|10.1.4.20"), flag("log logging", "and log it", "without logging")),
    topic("Sensor reading|Measurement", code("sensor sensor_id device", "sensor {}", 1, 2), number("value reading", "measured {}", 1, 99), one_of("unit units", celsius="degrees centigrade", percent="per cent", bar="bars"), time("at taken_at", "at {}"),
          rows="readings samples points", row=(code("sensor id", "sensor {}", 1, 2), number("value val", "shows {}", 1, 60))),
    topic("Vet appointment|Take the pet to the vet", words("pet animal_name", "for {}", "Rex|Luna|Milo|Bella|Tiger|Coco"), one_of("species animal", dog="the dog", cat="the cat", bird="the parrot"), whole("age years", "aged {}", 1, 17), date("visit day", "on {}"),
          flag("first_visit is_new", "first time here", "has been here before"), number("weight weight_kg", "{} kg", 2, 40)),
    topic("Flight booking|Book a flight", words("origin from_city dep", "from {}", CITIES[:10]), words("destination to_city arr", "to {}", CITIES[10:]), date("date fly_on", "on {}"), one_of("cabin class", economy="the cheapest seats", business="in business class", first="in first class"),
          whole("travellers adults", "{} travellers", 2, 8), rows="legs segments", row=(words("origin src", "{}", CITIES[:10]), words("dest dst", "to {}", CITIES[10:]))),
    topic("Cinema tickets|Movie night", words("film movie", 'the film "{}"', "Metropolis|Casablanca|Alien|Amelie|Vertigo"), whole("seats tickets n", "{} seats", 2, 10), time("showing time", "at {}"), flag("three_d is_3d", "in 3D", "in 2D"), code("row_seat seat", "seat {}", 1, 2)),
    topic("Send a parcel|Parcel", words("recipient to addressee", "to {}", NAMES), number("kg weight mass", "weighing {} kg", 0.3, 30), one_of("speed service", express="overnight|by tomorrow", standard="the normal way", economy="cheap and slow"), flag("insured insurance", "with insurance", "uninsured"),
          words("city town", "in {}", CITIES), code("postcode zip", "postcode {}", 0, 5), rows="parcels boxes", row=(words("to recipient", "one to {}", FIRST), number("kg weight", "of {} kg", 0.5, 20))),
    topic("Coffee order|One hot drink", words("drink beverage kind", "a cup of {}", "latte|espresso|mocha|cappuccino|flat white"), one_of("size cup", small="small cup", large="big cup", regular="usual cup"), whole("sugars sugar_cubes", "{} sugars", 1, 4), flag("takeaway to_go", "to take away", "to drink here"),
          one_of("milk milk_type", oat="oat milk", soy="soy milk", cow="dairy milk"), rows="drinks cups", row=(words("drink kind", "a {}", "latte|mocha|espresso|tea"), words("for name", "for {}", FIRST))),
    topic("Bank transfer|Pay someone", words("payee to beneficiary", "to {}", NAMES), number("amount sum value", "send {}", 5, 900, 2), one_of("currency cur", eur="euros", usd="dollars", gbp="pounds"), words("memo note reference", 'noting "{}"', "rent|thanks|gift|invoice 12|lunch"), date("on value_date", "on {}")),
    topic("Expense claim|Business cost", number("amount cost total", "{} euros", 3, 400, 2), one_of("category type", travel="for the journey", meals="for food", office="for pens and paper"), words("employee staff", "paid by {}", NAMES), flag("receipt has_receipt", "receipt attached", "receipt lost"), date("spent_on date", "on {}"),
          rows="costs entries lines", row=(words("what item", "{}", "lunch|fuel|paper|taxi|toner"), number("eur cost", "{} euros", 3, 90, 2))),
    topic("Schedule a meeting|Meeting", words("topic subject about", "about {}", "budgets|hiring|the roadmap|sales|safety"), many("people attendees invitees", "with {}", "|".join(FIRST[:12])), time("start begins", "at {}"), whole("minutes length", "{} minutes long", 15, 120), one_of("place mode", online="by video", onsite="in the building")),
    topic("Set a reminder|Remind me", words("text task what", "to {}", "call Mum|pay the rent|feed the cat|buy stamps|lock the shed"), date("day on_date", "on {}"), time("time at", "at {}"), one_of("prio importance", **PRIORITY), flag("repeat daily", "every day", "only once")),
    topic("Play music|Add a song", words("song track title", 'the song "{}"', "Yesterday|Hurt|Creep|Imagine|Clocks"), words("artist performer by", "by {}", "The Beatles|Johnny Cash|Adele|Coldplay|Nina Simone"), one_of("genre style", rock="rock music", jazz="jazz music", folk="folk music"), flag("shuffle random", "in random order", "in order"), whole("loops repeat_count", "{} times", 2, 6)),
    topic("Water the plants|Plant care", words("plant species", "the {}", "fern|cactus|orchid|ficus|basil"), whole("ml water_ml amount", "{} ml of water", 50, 900), whole("every_days interval", "every {} days", 2, 14), one_of("light sun", full="needs direct sun", shade="keep it dark", partial="half shade")),
    topic("Paint job|Painting work", words("room surface", "the {}", "kitchen|fence|hall|garage|ceiling"), words("color paint", "in {}", "mint green|ivory|navy|coral|grey"), whole("coats layers", "{} coats", 2, 4), number("area_m2 sqm", "{} square metres", 4, 60), one_of("finish gloss", matt="no shine", glossy="very shiny")),
    topic("Rent a car|Car hire", words("pickup_city branch", "in {}", CITIES), whole("days rental_days", "for {} days", 2, 21), one_of("gearbox transmission", manual="stick shift", automatic="without a clutch"), words("driver renter", "driver {}", NAMES), flag("child_seat baby_seat", "with a child seat", "no child seat needed"), date("from start_date", "from {}")),
    topic("Exam result|Student grade", words("student pupil", "{}", NAMES), words("course subject", "in {}", "algebra|history|physics|Latin|biology"), whole("points score marks", "{} points", 13, 100), flag("passed pass", "passed", "failed"), one_of("term semester", spring="in the spring term", autumn="in the autumn term"),
          rows="grades results marks", row=(words("student who", "{}", FIRST), whole("points score", "{} points", 13, 100))),
    topic("Job application|New candidate", words("name applicant", "{}", NAMES), words("role position", "as {}", "nurse|welder|editor|analyst|chef"), whole("years experience_years", "{} years of experience", 2, 30), many("skills knows", "knows {}", "Excel|Python|German|sales|design|SQL"), flag("remote home_office", "wants to work from home", "will work on site")),
    topic("Create a user account|New user", words("username login user", "login {}", "jberg|m_costa|ada99|tito|kim_l|zed7"), one_of("role access", admin="may do everything", editor="may change pages", viewer="may only read"), flag("active enabled", "active at once", "inactive for now"), many("groups teams", "member of {}", "sales|ops|legal|press"),
          words("email mail", "mail {}", "a@ex.org|info@blue.net|kim@home.io|tom@mail.com")),
    topic("Invoice|Write an invoice", words("client bill_to", "for {}", "Acme Ltd|Bluebird Inc|Nordlicht AG|Casa Sol"), code("invoice_no number", "number {}", 2, 4), number("total gross", "total {}", 20, 990, 2), flag("paid settled", "already paid", "still open"), date("due_date pay_by", "due {}"),
          rows="lines positions items", row=(words("desc text", "{}", "hosting|design|training|repair"), number("price net", "at {}", 20, 500, 2))),
    topic("Medicine plan|Medication", words("drug medicine", "{}", "ibuprofen|aspirin|zinc|vitamin D|iron"), whole("mg dose_mg", "{} mg", 50, 800), whole("per_day times_daily", "{} times a day", 2, 4), one_of("meal taken", before="on an empty stomach", after="after eating", during="with food"), words("patient for", "for {}", NAMES)),
    topic("Bicycle repair|Bike workshop", words("part component", "the {}", "chain|front brake|saddle|rear wheel|bell"), one_of("work job", replace="put in a new one", clean="wash it", adjust="tune it"), number("price quote", "for {} euros", 5, 120, 2), words("owner customer", "bike of {}", NAMES), one_of("priority urgency", **PRIORITY)),
    topic("Museum visit|Museum tickets", whole("adults grown_ups", "{} adults", 1, 6), whole("children kids", "{} children", 1, 5), date("day visit_date", "on {}"), flag("guide guided", "with a guide", "no guide"), one_of("language lang", en="in English", de="in German", fr="in French")),
    topic("Camera settings|Take a photo", whole("iso iso_value", "ISO {}", 100, 6400), number("aperture f_stop", "aperture {}", 1.4, 16), flag("flash use_flash", "flash on", "flash off"), one_of("mode scene", portrait="a face", landscape="wide scenery", night="in the dark"), words("format file", "save as {}", "raw|jpeg|tiff")),
    topic("Print job|Print a document", words("file document", "file {}", "plan.pdf|menu.docx|map.png|poem.txt"), whole("copies n", "{} copies", 2, 40), flag("duplex two_sided", "on both sides", "on one side"), one_of("paper sheet", a4="normal A4 sheets", a3="big A3 sheets"), one_of("ink colors", color="in colour", mono="black and white")),
    topic("DNS record|Name server entry", words("host name", "host {}", "www|mail|shop|blog|vpn"), one_of("type record_type", a="an address record", mx="a mail record", cname="an alias record"), words("target points_to", "pointing to {}", "10.2.0.9|203.0.113.5|web.ex.org|mx1.ex.org"), whole("ttl ttl_seconds", "lives {} seconds", 60, 7200),
          rows="records hosts", row=(words("host name", "{}", "www|mail|shop|blog|vpn"), words("ip addr", "at {}", "10.2.0.9|10.2.0.7|203.0.113.5"))),
    topic("Scheduled script|Timed job", words("script command", "run {}", "clean.sh|sync.py|rotate.sh|report.py"), one_of("every period", hour="once an hour", day="daily", week="weekly"), flag("enabled active", "switched on", "paused"), whole("retries attempts", "retry {} times", 2, 6), words("user run_as", "as user {}", "root|www|backup|ada")),
    topic("Resize an image|Image job", whole("width w", "{} pixels wide", 64, 1920), whole("height h", "{} pixels high", 64, 1080), one_of("format out", png="lossless format", jpg="photo format", webp="web format"), flag("keep_ratio lock", "keep the proportions", "distort if needed"), whole("quality q", "quality {}", 13, 100)),
    topic("Weather report|Weather now", words("city place station", "for {}", CITIES), number("temp temp_c", "{} degrees", 1, 38), one_of("sky condition", clear="no clouds", cloudy="grey sky", rain="it is wet"), whole("wind wind_kmh", "wind {} km/h", 13, 90), rows="forecast days",
          row=(one_of("day weekday", mon="Monday", tue="Tuesday", wed="Wednesday"), number("max high", "{} degrees", 1, 38))),
    topic("Chess game|Chess result", words("white white_player", "white {}", FIRST), words("black black_player", "black {}", LAST), one_of("result winner", white="white won", black="black won", draw="nobody won"), whole("moves n_moves", "{} moves", 13, 90), flag("rated official", "a rated game", "just for fun")),
    topic("Football match|Match result", words("home home_team", "home {}", "Rovers|United|City|Dynamo"), words("away guest_team", "away {}", "Athletic|Rangers|Sporting|Union"), whole("home_goals gf", "home scored {}", 1, 6), whole("away_goals ga", "away scored {}", 1, 6), date("played_on date", "on {}"),
          rows="goals scorers", row=(words("player scorer", "{}", LAST), whole("minute min", "minute {}", 13, 90))),
    topic("House for sale|Property listing", words("city location", "in {}", CITIES), whole("price asking_price", "price {}", 90000, 900000), whole("bedrooms rooms", "{} bedrooms", 1, 6), flag("garden has_garden", "has a garden", "no garden"), one_of("heating heat", gas="heated by gas", electric="electric heating", wood="wood stove"), many("features extras", "with {}", "balcony|cellar|garage|attic|pool")),
    topic("Fuel stop|Filled the tank", number("liters litres volume", "{} litres", 5, 70), number("price_total paid", "paid {}", 9, 120, 2), one_of("fuel fuel_type", diesel="diesel", petrol="petrol"), whole("km odometer", "at {} km", 1000, 90000), code("plate car", "car {}", 2, 3)),
    topic("Book review|Product review", words("reviewer author", "by {}", NAMES), whole("stars rating", "{} stars", 1, 5), flag("recommend recommended", "would recommend it", "would not recommend it"), many("pros liked", "good: {}", "plot|style|price|pace|humour"), words("headline title", 'titled "{}"', "Loved it|Too long|A gem|Not bad")),
)
GROUP_KEYS = ("details", "info", "spec", "data", "options", "meta", "params", "extra", "body", "entry")
LEADS = (("Write the request as JSON that follows the schema.", "Request"), ("Fill in the schema with the details.", "Details"), ("Turn the text into one JSON object that fits the schema.", "Text"),
         ("Convert the note to JSON. Follow the schema exactly.", "Note"), ("Return one JSON object that conforms to the schema.", "Input"), ("Give the data as JSON.", "Data"))
# fmt: on


def spelled(key: str, rng: random.Random) -> str:
    """The key as is, in camelCase, with a prefix or in capitals: what counts is the schema's spelling."""
    style = rng.random()
    if style < 0.12:
        head, *tail = key.split("_")
        return head + "".join(part.capitalize() for part in tail)
    if style < 0.19:
        return rng.choice(("req_", "my_", "f_", "x_", "in_")) + key
    return key.upper() if style < 0.22 else key


def build(
    fields: list[Field], rng: random.Random, *, strict: bool
) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """An object schema over the fields, an instance in the schema's key order, and the fields' words."""
    properties: dict[str, Any] = {}
    instance: dict[str, Any] = {}
    said: list[str] = []
    for field in fields:
        key = spelled(
            rng.choice([k for k in field.keys if k not in properties] or [field.keys[0] + "_2"]), rng
        )
        properties[key], instance[key], text = field.draw(rng)
        said.append(text)
    return closed(properties, list(instance), rng, strict=strict), instance, said


def closed(
    properties: dict[str, Any], required: list[str], rng: random.Random, *, strict: bool
) -> dict[str, Any]:
    """The object schema; a closed one sometimes says how many keys it has instead of naming them all."""
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if strict and rng.random() < 0.2:
        return {**schema, "minProperties": len(properties), "additionalProperties": False}
    schema["required"] = required
    return {**schema, "additionalProperties": False} if strict else schema


def example(rng: random.Random) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """One (instruction, schema, instance): flat, with an optional key left out, nested, or with an array of objects."""
    shape = rng.choices(("flat", "optional", "nested", "rows"), (52, 8, 20, 20))[0]
    subject = rng.choice([t for t in TOPICS if t.row] if shape == "rows" else TOPICS)
    size = rng.choices((2, 3, 4, 5), (25, 35, 28, 12))[0]
    fields = rng.sample(subject.fields, min(size, len(subject.fields)))
    strict = rng.random() < 0.6
    if shape == "rows":
        schema, instance, said = build(fields[: rng.randint(0, 2)], rng, strict=strict)
        seed = rng.random()
        # The same seed gives every row the same keys and constraints; the values come from generators of their own.
        rows = [build_row(subject.row, seed, rng) for _ in range(rng.randint(1, 3))]
        name = rng.choice(subject.row_keys)
        schema["properties"].pop(name, None)
        properties = {**schema["properties"], name: {"type": "array", "items": rows[0][0]}}
        instance = {**{k: v for k, v in instance.items() if k != name}, name: [row[1] for row in rows]}
        spoken = [
            *said,
            ", ".join(row[2] for row in rows),
        ]  # one piece: the shuffle must keep the rows' order
        return finish(subject, closed(properties, list(instance), rng, strict=strict), instance, spoken, rng)
    schema, instance, said = build(fields, rng, strict=strict)
    if shape == "nested" and len(fields) >= 3:
        inner = rng.sample(list(instance), 2)
        name = rng.choice(GROUP_KEYS)
        group = closed(
            {k: schema["properties"][k] for k in schema["properties"] if k in inner}, inner, rng, strict=False
        )
        group["required"] = list(group["properties"])
        outer = {k: v for k, v in schema["properties"].items() if k not in inner}
        outer[name] = group
        nested = {
            k: ({i: instance[i] for i in group["properties"]} if k == name else instance[k]) for k in outer
        }
        return finish(subject, closed(outer, list(outer), rng, strict=strict), nested, said, rng)
    if shape == "optional" and "required" in schema and len(fields) >= 3:
        drop = rng.randrange(len(fields))
        key = list(instance)[drop]
        schema["required"] = [k for k in schema["required"] if k != key]
        return finish(
            subject,
            schema,
            {k: v for k, v in instance.items() if k != key},
            said[:drop] + said[drop + 1 :],
            rng,
        )
    return finish(subject, schema, instance, said, rng)


def build_row(
    fields: tuple[Field, ...], seed: float, rng: random.Random
) -> tuple[dict[str, Any], dict[str, Any], str]:
    """One row; its schema depends on the seed alone, so all rows of an array share it."""
    shape = random.Random(seed)
    properties: dict[str, Any] = {}
    instance: dict[str, Any] = {}
    said = []
    for field in fields:
        key = spelled(
            shape.choice([k for k in field.keys if k not in properties] or [field.keys[0] + "_2"]), shape
        )
        properties[key], _, _ = field.draw(shape)
        instance[key], text = conforming(field, properties[key], rng)
        said.append(text)
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return schema, instance, " ".join(said)


def conforming(field: Field, schema: dict[str, Any], rng: random.Random) -> tuple[Any, str]:
    """Draws until the value fits the given sub-schema (only an enum's spelling and choice can differ)."""
    while True:
        _, value, text = field.draw(rng)
        if "enum" not in schema or value in schema["enum"]:
            return value, text


def finish(
    subject: Topic, schema: dict[str, Any], instance: dict[str, Any], said: list[str], rng: random.Random
) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The instruction: a lead, the compact schema, and the pieces of the request in any order."""
    lead, label = rng.choice(LEADS)
    rng.shuffle(said)
    request = f"{rng.choice(subject.openers)}{rng.choice((': ', ', ', ' - '))}{', '.join(said)}."
    return (
        f"{lead}\nSchema: {json.dumps(schema, separators=(',', ':'))}\n{label}: {request}",
        schema,
        instance,
    )


def examples(seed: int = 0, count: int = 2500) -> list[dict[str, str]]:
    """`count` pairs {"prompt", "completion"} in the JSON expert's format; the same seed gives the same list."""
    rng = random.Random(seed)
    pairs: list[dict[str, str]] = []
    while len(pairs) < count:
        instruction, _, instance = example(rng)
        if (
            len(instruction) <= 500
        ):  # about 150 tokens: short rows train faster, and the task's prompts are short
            pairs.append({"prompt": f"{instruction}\n\nJSON:", "completion": " " + json.dumps(instance)})
    return pairs
