from curation.dual_encoder_card import write_model_card


def seed_of(number, auc, abstained):
    figures = [
        {"name": "AUC", "value": auc, "chance": 0.5, "num_pictures": 29, "lower_is_better": False},
        {"name": "abstained", "value": abstained, "chance": 0.0, "num_pictures": 40, "lower_is_better": True},
    ]
    return {"seed": number, "text_steps": 650, "image_steps": 7600, "image_core_minutes": 50.0, "figures": figures}


def test_the_worst_seed_stands_first_in_the_card_whichever_way_is_better(tmp_path):
    write_model_card(tmp_path, [seed_of(0, 0.9, 0.01), seed_of(1, 0.8, 0.03)], low=0.3, high=0.7)
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "| AUC | 0.800 | 0.900 0.800 | 0.50 | 29 |" in card
    assert "| abstained | 0.030 | 0.010 0.030 | 0.00 | 40 |" in card
    assert "Seeds: 2; the worst counts; the weights here are those of seed 0." in card


def test_the_card_ends_with_how_weights_came_that_one_run_did_not_make(tmp_path):
    write_model_card(tmp_path, [seed_of(0, 0.9, 0.01)], low=0.3, high=0.7)
    assert (tmp_path / "README.md").read_text(encoding="utf-8").endswith("7600 steps in 50.0 core-minutes.\n")
    write_model_card(tmp_path, [seed_of(0, 0.9, 0.01) | {"history": "Continued twice."}], low=0.3, high=0.7)
    assert (tmp_path / "README.md").read_text(encoding="utf-8").endswith("\n\nContinued twice.\n")
