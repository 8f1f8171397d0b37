"""Mutations of the front door: which column, whose slide, what a study is told about itself."""

from mutation import Mutation

DOOR = "tests/front/test_front_door.py"
DOCTOR = "tests/front/test_doctor.py"

MUTATIONS = (
    Mutation(
        "time-and-event-of-two-endpoints",
        "cropkt/front/tables/endpoint.py",
        "if time != event and _fit(time, event, times, events)]",
        "if time != event]",
        (DOCTOR, DOOR),
        "time to progression would go with death",
    ),
    Mutation(
        "censorship-is-an-event",
        "cropkt/front/tables/endpoint.py",
        '{"0"}, "its name says that 1 means censored")]',
        '{"1"}, "its name says that 1 means censored")]',
        (f"{DOOR}::test_a_published_layout_opens_without_editing",),
        "who is alive would count as dead, and every model would run backwards",
    ),
    Mutation(
        "endpoint-not-the-one-named",
        "cropkt/front/tables/endpoint.py",
        "pairs = [pair for pair in pairs if wanted.casefold() in {endpoint_of(name) for name in pair}]",
        "pairs = pairs[:1]",
        (f"{DOOR}::test_a_published_layout_opens_without_editing",),
        "--endpoint dss would be overall survival",
    ),
    Mutation(
        "rows-of-any-cohort",
        "cropkt/front/tables/label_tables.py",
        "rows[code].append(row.cells)",
        "rows[table.codes[0]].append(row.cells)",
        (f"{DOOR}::test_one_table_of_all_cohorts_is_divided",),
        "init would match the slides of one cohort with the patients of all",
    ),
    Mutation(
        "slide-tables-are-not-read",
        "cropkt/front/tables/label_tables.py",
        "slides = [row.slide] if row.slide else listed.get(person_of(row.patient)) or names.of_patient(row.patient)",
        "slides = [row.slide] if row.slide else names.of_patient(row.patient)",
        (f"{DOOR}::test_a_published_layout_opens_without_editing",),
        "slides that only a table of slides gives to a patient would be left out",
    ),
    Mutation(
        "slides-of-one-patient-twice",
        "cropkt/front/slides/match.py",
        "return self.by_patient.get(person_of(patient), self.by_patient.get(patient.casefold(), []))",
        "return next((found for key, found in self.by_patient.items() if key.startswith(patient.casefold())), [])",
        (DOCTOR, DOOR),
        "slides of H10 would be given to patient H1",
    ),
    Mutation(
        "patient-rule-not-told-to-the-study",
        "cropkt/front/init.py",
        "    if options.rule != TCGA:\n",
        "    if not options.rule:\n",
        (DOOR,),
        "the study would find other patients in its ids than init has matched",
    ),
    Mutation(
        "folds-not-told-to-the-study",
        "cropkt/front/init.py",
        'Key("folds", options.folds,',
        'Key("folds", 5,',
        (DOOR,),
        "--folds would change nothing",
    ),
    Mutation(
        "the-other-encoders-files",
        "cropkt/front/slides/encoders.py",
        "if encoder.name.casefold() == str(given).casefold()]",
        "][:1]",
        (DOOR, DOCTOR),
        "--encoder would give another encoder's features",
    ),
    Mutation(
        "follow-up-of-the-dead",
        "cropkt/front/doctor.py",
        'labels["event"].to_numpy() == 0',
        'labels["event"].to_numpy() == 1',
        (DOCTOR,),
        "median follow-up would be median survival",
    ),
    Mutation(
        "train-counts-as-test",
        "cropkt/front/doctor.py",
        "_fold_count(labels, fold.train, fold.test)",
        "_fold_count(labels, fold.test, fold.train)",
        (DOCTOR, DOOR),
        "a fold with two events to test would look as if it had many",
    ),
    Mutation(
        "deep-is-not-deep",
        "cropkt/front/doctor.py",
        "        if deep:\n",
        "        if deep is None:\n",
        (DOCTOR, DOOR, "tests/front/test_wrong_studies.py"),
        "check --deep would find what it finds without",
    ),
)
