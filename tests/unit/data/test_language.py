import pytest

from components.data.language import LANGUAGES, identify

SENTENCES = {
    "en": ("The parcel was late and nobody told us why.", "Where can I find the settings of my account?"),
    "zh": ("这个手机的电池很耐用。", "请在 settings.py 中设置 DEBUG=False"),
    "ja": ("設定を変更してください。", "このファイルは見つかりません"),
    "ko": ("이 파일을 찾을 수 없습니다.",),
    "de": ("Das Paket ist leider nicht angekommen.", "Bitte geben Sie eine gültige Adresse ein."),
    "fr": ("Le colis est arrivé en retard.", "Veuillez saisir une adresse valide pour le compte."),
    "es": ("El paquete no ha llegado todavía.",),
    "pt": ("A encomenda não chegou ainda para você.",),
    "it": ("Il pacco non è ancora arrivato alla casa.",),
    "nl": ("Het pakket is nog niet aangekomen bij mij.",),
    "ru": ("Посылка ещё не пришла.",),
    "uk": ("Посилка ще не надійшла, її немає.",),
    "ar": ("لم يصل الطرد بعد",),
    "he": ("החבילה עדיין לא הגיעה",),
    "el": ("Το δέμα δεν έφτασε ακόμα",),
}


@pytest.mark.parametrize(("language", "text"), [(name, text) for name, texts in SENTENCES.items() for text in texts])
def test_the_language_of_a_sentence_is_told(language, text):
    guess = identify(text)
    assert guess.language == language
    assert 0 < guess.confidence <= 1
    assert language in LANGUAGES


@pytest.mark.parametrize("text", ["", "12345 67", "!!! ???", "foo_bar(x1, y2)", "∮ ∞ ∑"])
def test_what_says_nothing_of_a_language_is_undetermined(text):
    assert identify(text).language == "und"
