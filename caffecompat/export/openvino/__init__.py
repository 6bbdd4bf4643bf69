"""OpenVINO's intermediate representation: the model in `.xml`, its weights in a `.bin` beside it."""
