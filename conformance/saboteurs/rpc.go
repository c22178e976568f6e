package saboteurs

func rpcSaboteurs() []Saboteur { return nil }
