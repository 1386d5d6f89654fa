"""The networks of models/, a recipe each: what they are trained on, how, and what they are measured against."""

from zoo import (
    bands,
    covid,
    digits,
    films,
    forecasts,
    gaps,
    keyword,
    speakers,
    spotting,
    turbofan,
    video,
    vowels,
    watch,
)
from zoo.recipe import Recipe

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        vowels.LSTM,
        vowels.BILSTM,
        speakers.RECIPE,
        covid.RECIPE,
        turbofan.RECIPE,
        digits.LSTM,
        digits.GRU,
        digits.CONVOLUTIONAL,
        digits.TCN,
        gaps.RECIPE,
        forecasts.CO2,
        forecasts.SUNSPOTS,
        bands.RECIPE,
        films.RECIPE,
        video.RECIPE,
        spotting.RECIPE,
        watch.WINDOWS,
        watch.GRU,
        keyword.RECIPE,
    )
}
