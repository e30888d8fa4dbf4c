from curation import records


def test_stages_share_the_key_and_the_reason() -> None:
    for schema in (records.URL_LIST, records.IMAGES, records.SCORES, records.TRAINING_SET):
        assert schema.field("key").nullable is False
        assert "reason" in schema.names


def test_observations_are_columns() -> None:
    schemas = {
        "url_list": records.URL_LIST,
        "images": records.IMAGES,
        "scores": records.SCORES,
        "training_set": records.TRAINING_SET,
    }
    assert set(records.OBSERVATIONS) == set(schemas)
    for stage, names in records.OBSERVATIONS.items():
        assert names <= set(schemas[stage].names)
        assert "key" not in names
