"""The networks of models/, a recipe each: what they are trained on, how, and what they are measured against."""

from zoo import covid, digits, films, forecasts, keyword, speakers, spotting, turbofan, video, vowels
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
        forecasts.CO2,
        forecasts.SUNSPOTS,
        films.RECIPE,
        video.RECIPE,
        spotting.RECIPE,
        keyword.RECIPE,
    )
}
