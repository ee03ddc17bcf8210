"""GenEval: does a picture hold the objects, counts, colours and places asked for?"""
