from jukinet.core.matching.parameters import Parameters

class Model:
    parameters: Parameters
    def __init__(self, parameters: Parameters, residents: int) -> None: ...
