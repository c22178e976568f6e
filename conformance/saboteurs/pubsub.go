package saboteurs

func pubsubSaboteurs() []Saboteur { return nil }
